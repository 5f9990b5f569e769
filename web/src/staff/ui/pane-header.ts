import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import "../../ui/menu";
import { base } from "../../ui/styles";
import type { Conversation } from "../conversation";
import type { Colleague } from "../frames";
import { lasting } from "../lasting";
import { s } from "../i18n/texts";
import { staffStyles } from "./staff-styles";
import { Ticking } from "./ticking";

/** Whose conversation it is, who has it, and what can be done about that. Tells `back`, `details` and `close`. */
@customElement("chatbox-pane-header")
export class PaneHeader extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: block;
        border-bottom: 1px solid var(--chatbox-line);
      }
      .row {
        display: flex;
        align-items: center;
        gap: 0.35rem;
        min-height: 3.5rem;
        padding: 0.35rem 0.6rem 0.35rem 1rem;
      }
      .title {
        flex: 1;
        min-width: 0;
      }
      h2 {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        font-size: 1rem;
        font-weight: 630;
        letter-spacing: -0.01em;
        line-height: 1.35;
      }
      h2 span:first-child,
      .sub {
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
      }
      .sub {
        font-size: 0.79rem;
        line-height: 1.4;
        color: var(--chatbox-ink-soft);
      }
      .owner {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        min-height: 2.7rem;
        padding: 0.25rem 0.6rem 0.25rem 1rem;
        background: var(--chatbox-side);
        font-size: 0.84rem;
        line-height: 1.35;
      }
      .owner.mine {
        background: var(--chatbox-tint);
        color: var(--chatbox-accent-strong);
      }
      .owner.staff {
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
      }
      .owner.help {
        background: var(--chatbox-bad-tint);
        color: var(--chatbox-bad);
      }
      .who {
        flex: 1;
        min-width: 0;
        font-weight: 550;
      }
      .aside {
        font-weight: 400;
        color: var(--chatbox-ink-soft);
      }
      @container (max-width: 34rem) {
        .aside {
          display: none;
        }
      }
      .owner .button {
        color: var(--chatbox-ink);
      }
      .owner .button.primary {
        color: var(--chatbox-on-accent);
      }
      .problem {
        display: flex;
        align-items: center;
        justify-content: space-between;
        padding: 0.2rem 0.6rem 0.2rem 1rem;
        background: var(--chatbox-bad-tint);
        color: var(--chatbox-bad);
        font-size: 0.85rem;
      }
      .problem .icon {
        color: inherit;
        width: 2rem;
        height: 2rem;
      }
      @media (max-width: 760px) {
        .row {
          padding: 0.35rem 0.4rem;
        }
      }
    `,
  ];

  @property({ attribute: false }) conversation!: Conversation;
  @property({ attribute: false }) others: Colleague[] = [];
  /** renders again when it changes; the conversation changes in place */
  @property({ type: Number }) revision = 0;
  @property({ type: Boolean }) narrow = false;
  @property({ type: Boolean }) online = false;
  /** the panel with what is known of the user is open */
  @property({ type: Boolean }) details = false;

  constructor() {
    super();
    new Localized(this);
    new Ticking(this, () => this.since !== null);
  }

  override focus(): void {
    this.renderRoot.querySelector<HTMLElement>("button")?.focus();
  }

  protected override render(): TemplateResult {
    const { conversation } = this;
    const { session, id } = conversation;
    const name = session?.user_name || session?.user_id || id;
    return html`<div class="row">
        ${this.narrow ? this.button("back", s("back"), "back") : nothing}
        <div class="title">
          <h2><span dir="auto">${name}</span> ${session?.online === undefined ? nothing : this.renderOnline(session.online)}</h2>
          <p class="sub" dir="auto">${session?.name || s("untitled")}</p>
        </div>
        ${this.button("details", s("details"), "info", this.details)} ${this.narrow ? nothing : this.button("close", s("closePane"), "close")}
      </div>
      ${this.renderOwner()} ${conversation.problem ? this.renderProblem(conversation.problem) : nothing}`;
  }

  private get since(): string | null | undefined {
    const { help, session, holder } = this.conversation;
    if (holder) return session?.assisting_admin_id === holder.id ? (session.assisted_since ?? null) : null;
    return help === "asked" || help === "told" ? session?.help_since : null;
  }

  private renderOnline(online: boolean): TemplateResult {
    const label = online ? s("online") : s("offline");
    return html`<span class="dot ${online ? "online" : ""}" role="img" aria-label=${label} title=${label}></span>`;
  }

  private renderOwner(): TemplateResult {
    const { conversation, since } = this;
    const { held, holder, help } = conversation;
    const asks = !holder && (help === "asked" || help === "told");
    const kind = held ? "mine" : holder ? "staff" : asks ? "help" : "";
    const text = held ? s("youHave") : holder ? s("heldBy", { name: holder.name }) : asks ? s("asksForHelp") : s("aiHas");
    return html`<div class="owner ${kind}">
      <span class="who" role="status">${text} ${kind === "" ? html`<span class="aside">${s("watching")}</span>` : nothing}</span>
      ${since ? html`<span class="clock">${lasting(since)}</span>` : nothing} ${conversation.deleted ? nothing : this.renderActions()}
    </div>`;
  }

  private renderActions(): TemplateResult | typeof nothing {
    const { conversation } = this;
    const off = conversation.moving || !this.online || conversation.reading !== "read";
    if (conversation.held)
      return html`${this.others.length > 0 ? this.renderTransfer() : nothing}
        <button class="button small" ?disabled=${off} @click=${() => conversation.handBack()}>${s("handBack")}</button>`;
    if (conversation.holder) return nothing;
    return html`<button class="button small primary" ?disabled=${off} @click=${() => conversation.takeOver()}>
      ${icon("hand")} ${conversation.moving ? s("takingOver") : s("takeOver")}
    </button>`;
  }

  private renderTransfer(): TemplateResult {
    const items = this.others.map(({ id, name }) => ({ id, label: name, icon: "person" as const }));
    const give = ({ detail }: CustomEvent<string>): void => {
      const to = this.others.find(({ id }) => id === detail);
      if (to) this.conversation.transfer(to);
    };
    return html`<chatbox-menu small sign="swap" .label=${s("transfer")} .items=${items} @choose=${give}></chatbox-menu>`;
  }

  private renderProblem(code: string): TemplateResult {
    const { holder } = this.conversation;
    const taken = holder ? s("heldBy", { name: holder.name }) : s("problemConflict");
    const text = code === "CONFLICT" ? taken : code === "UNREACHABLE" ? s("problemUnreachable") : s("problemOther");
    return html`<p class="problem" role="alert">
      ${text}
      <button class="icon" aria-label=${s("dismiss")} @click=${() => this.conversation.dismiss()}>${icon("close")}</button>
    </p>`;
  }

  private button(event: string, label: string, sign: "back" | "info" | "close", pressed?: boolean): TemplateResult {
    return html`<button
      class="icon"
      aria-label=${label}
      title=${label}
      aria-pressed=${pressed ?? nothing}
      @click=${() => this.dispatchEvent(new CustomEvent(event))}
    >
      ${icon(sign)}
    </button>`;
  }
}
