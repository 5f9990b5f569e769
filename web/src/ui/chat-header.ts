import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { live } from "lit/directives/live.js";
import type { Session } from "../api";
import type { Chat } from "../chat/chat";
import { Localized, t } from "../i18n/locale";
import { commandEvent, commandItems } from "./commands";
import { icon } from "./icons";
import "./menu";
import "./name-field";
import { base } from "./styles";

/** The conversation's name, who helps, which model, and what can be done. Tells `list`, `new`, `command` and `rename`. */
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
      h1,
      .sub {
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
      }
      h1 {
        font-size: 1.02rem;
        font-weight: 620;
        letter-spacing: -0.01em;
        line-height: 1.35;
      }
      .sub {
        font-size: 0.78rem;
        line-height: 1.35;
        color: var(--chatbox-warm);
        font-weight: 550;
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
      .help.asked {
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
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

  protected override render(): TemplateResult {
    return html`${this.narrow
        ? html`<button class="icon" aria-label=${t("openList")} @click=${() => this.tell("list")}>${icon("menu")}</button>`
        : nothing}
      <div class="title">${this.renderName()} ${this.renderSub()}</div>
      ${this.renderModels()} ${this.renderHelp()}
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

  private renderSub(): TemplateResult | typeof nothing {
    const { help, staffName } = this.chat.facts;
    if (staffName !== null) return html`<p class="sub">${t("helpJoined", { name: staffName || t("staff") })}</p>`;
    if (help === "asked" || help === "told") return html`<p class="sub">${t(help === "asked" ? "helpAsked" : "helpTold")}</p>`;
    return nothing;
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
    const { help, staffName } = this.chat.facts;
    if (staffName !== null) return nothing;
    const asked = help === "asked" || help === "told";
    const label = asked ? t("helpCancel") : t("help");
    return html`<button
      class="help ${asked ? "asked" : ""}"
      aria-label=${label}
      title=${label}
      @click=${() => (asked ? this.chat.cancelHelp() : this.chat.askForHelp())}
    >
      ${icon("help")}<span>${asked ? t("helpCancelShort") : t("helpShort")}</span>
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
