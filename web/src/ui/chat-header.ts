import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { live } from "lit/directives/live.js";
import type { Session } from "../api";
import type { Chat } from "../chat/chat";
import { Localized, t } from "../i18n/locale";
import "./avatar";
import { commandEvent, commandItems } from "./commands";
import { icon } from "./icons";
import "./menu";
import "./name-field";
import { base } from "./styles";

/** The conversation's name, who answers (a member of staff, or which model), and what can be done. Tells `list`, `new`,
 *  `command`, `rename` and `help`. */
@customElement("chatbox-header")
export class ChatHeader extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: flex;
        align-items: center;
        gap: 0.35rem;
        height: 3.75rem;
        padding: 0 0.9rem;
        border-bottom: 1px solid var(--chatbox-line);
      }
      .title {
        flex: 1;
        min-width: 0;
        padding-left: 0.35rem;
      }
      h1 {
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
        font-size: 1.02rem;
        font-weight: 620;
        letter-spacing: -0.01em;
        line-height: 1.35;
      }
      .staff {
        display: inline-flex;
        align-items: center;
        gap: 0.5rem;
        min-width: 0;
        max-width: 16rem;
        height: 2.4rem;
        padding: 0 0.9rem 0 0.4rem;
        border-radius: 1.2rem;
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
        font-size: 0.88rem;
        font-weight: 620;
      }
      .staff .name {
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .staff .role {
        font-weight: 450;
      }
      select {
        height: 2.3rem;
        max-width: 11rem;
        font-size: 0.86rem;
      }
      .help {
        display: inline-flex;
        align-items: center;
        gap: 0.45rem;
        height: 2.4rem;
        padding: 0 0.75rem;
        border-radius: 10px;
        font-size: 0.88rem;
        font-weight: 550;
        color: var(--chatbox-ink-soft);
      }
      .help:hover {
        background: var(--chatbox-hover);
        color: var(--chatbox-ink);
      }
      @media (max-width: 760px) {
        :host {
          padding: 0 0.5rem;
          gap: 0.1rem;
        }
        .help {
          width: 2.5rem;
          padding: 0;
          justify-content: center;
        }
        .help span {
          display: none;
        }
        select {
          max-width: 7.5rem;
        }
        .staff {
          max-width: 9.5rem;
          margin-right: 0.2rem;
          padding-right: 0.7rem;
        }
        .staff .role {
          display: none;
        }
      }
    `,
  ];

  @property({ attribute: false }) chat!: Chat;
  @property({ attribute: false }) session: Session | undefined;
  /** renders again when it changes; the chat changes in place */
  @property({ type: Number }) revision = 0;
  @property({ type: Boolean }) narrow = false;
  @property({ type: Boolean }) editing = false;

  constructor() {
    super();
    new Localized(this);
  }

  override focus(): void {
    this.renderRoot.querySelector<HTMLElement>("button")?.focus();
  }

  focusHelp(): void {
    this.renderRoot.querySelector<HTMLElement>(".help")?.focus();
  }

  protected override render(): TemplateResult {
    return html`${this.narrow
        ? html`<button class="icon" aria-label=${t("openList")} @click=${() => this.tell("list")}>${icon("menu")}</button>`
        : nothing}
      <div class="title">${this.renderName()}</div>
      ${this.renderAnswering()} ${this.renderHelp()}
      ${this.narrow
        ? html`<button class="icon" aria-label=${t("newChat")} title=${t("newChat")} @click=${() => this.tell("new")}>${icon("plus")}</button>`
        : nothing}
      ${this.session ? this.renderMenu(this.session) : nothing}`;
  }

  private get name(): string {
    return this.session?.name || this.chat.facts.name || (this.chat.log.messages.length > 0 ? t("untitled") : t("newChat"));
  }

  private renderName(): TemplateResult {
    if (!this.editing) return html`<h1 dir="auto" title=${this.name}>${this.name}</h1>`;
    return html`<chatbox-name-field
      .name=${this.name}
      @rename=${(event: CustomEvent<string>) => this.tell("rename", event.detail)}
      @leave=${() => this.tell("rename", this.name)}
    ></chatbox-name-field>`;
  }

  private renderAnswering(): TemplateResult | typeof nothing {
    const { staffName } = this.chat.facts;
    return staffName === null ? this.renderModels() : this.renderStaff(staffName || t("staff"));
  }

  private renderStaff(name: string): TemplateResult {
    const words = t("staffHere", { name });
    return html`<span class="staff" title=${words}>
      <span class="hidden">${words}</span><chatbox-avatar .name=${name}></chatbox-avatar>
      <span class="name" dir="auto" aria-hidden="true">${name}</span><span class="role" aria-hidden="true">${t("staffRole")}</span>
    </span>`;
  }

  private renderModels(): TemplateResult | typeof nothing {
    const { models, modelId } = this.chat;
    if (models.length < 2) return nothing;
    const chosen = modelId ?? models[0]?.id;
    return html`<select aria-label=${t("model")} @change=${this.onModel}>
      ${models.map(({ id, name }) => html`<option value=${id} .selected=${live(id === chosen)}>${name}</option>`)}
    </select>`;
  }

  private renderHelp(): TemplateResult | typeof nothing {
    if (this.chat.help !== "none" || this.chat.facts.staffName !== null) return nothing;
    return html`<button class="help" aria-label=${t("help")} title=${t("help")} @click=${() => this.tell("help")}>
      ${icon("help")}<span>${t("helpShort")}</span>
    </button>`;
  }

  private renderMenu(session: Session): TemplateResult {
    return html`<chatbox-menu
      .label=${t("conversationActions")}
      .items=${commandItems()}
      @choose=${(event: CustomEvent<string>) => this.dispatchEvent(commandEvent(event.detail, session))}
    ></chatbox-menu>`;
  }

  private onModel(event: Event): void {
    this.chat.selectModel((event.target as HTMLSelectElement).value);
  }

  private tell(type: string, detail?: string): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
