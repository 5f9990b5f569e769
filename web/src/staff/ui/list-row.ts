import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { ago, moment } from "../../i18n/times";
import { base } from "../../ui/styles";
import type { StaffSession } from "../frames";
import { s } from "../i18n/texts";
import { lasting } from "../lasting";
import { staffStyles } from "./staff-styles";

/** One session of the queue or of the list. Tells `open`. */
@customElement("chatbox-staff-row")
export class ListRow extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: block;
      }
      button {
        display: grid;
        gap: 0.1rem;
        width: 100%;
        padding: 0.5rem 0.7rem;
        border-radius: 11px;
        text-align: left;
        line-height: 1.4;
        outline-offset: -2px;
      }
      button:hover {
        background: var(--chatbox-hover);
      }
      .current {
        background: var(--chatbox-tint);
      }
      .waiting {
        background: var(--chatbox-bad-tint);
      }
      .top,
      .under {
        display: flex;
        align-items: center;
        gap: 0.45rem;
        min-width: 0;
      }
      .name,
      .preview {
        flex: 1;
        min-width: 0;
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
      }
      .name {
        font-weight: 570;
        font-size: 0.91rem;
      }
      .when {
        flex: none;
        font-size: 0.76rem;
        color: var(--chatbox-ink-soft);
      }
      .waiting .when {
        color: var(--chatbox-bad);
        font-weight: 600;
        font-size: 0.82rem;
      }
      .preview {
        font-size: 0.82rem;
        color: var(--chatbox-ink-soft);
      }
      .waiting .preview {
        color: inherit;
      }
    `,
  ];

  @property({ attribute: false }) session!: StaffSession;
  @property() preview = "";
  @property() me = "";
  @property({ type: Boolean }) current = false;
  /** in the queue: how long they wait is shown */
  @property({ type: Boolean }) waiting = false;
  /** renders again when it changes; times pass */
  @property({ type: Number }) now = 0;
  /** 0 on the one row that the Tab key reaches, else -1 */
  @property({ type: Number }) focusable = -1;
  @query("button") private readonly button!: HTMLElement;

  constructor() {
    super();
    new Localized(this);
  }

  override focus(options?: FocusOptions): void {
    void this.updateComplete.then(() => this.button.focus(options));
  }

  protected override render(): TemplateResult {
    const { session, waiting } = this;
    const words = this.preview || session.name || s("untitled");
    return html`<button
      class="${waiting ? "waiting" : ""} ${this.current ? "current" : ""}"
      tabindex=${this.focusable}
      aria-current=${this.current ? "true" : nothing}
      @click=${() => this.dispatchEvent(new CustomEvent("open", { detail: session.id, bubbles: true, composed: true }))}
    >
      <span class="top">
        ${session.online === undefined ? nothing : this.renderOnline(session.online)}
        <span class="name" dir="auto">${session.user_name || session.user_id}</span>
        ${waiting
          ? html`<span class="when clock"><span class="hidden">${s("waitsSince")}</span> ${lasting(session.help_since)}</span>`
          : html`<time class="when" datetime=${session.last_activity} title=${moment(session.last_activity)}>${ago(session.last_activity)}</time>`}
      </span>
      <span class="under"><span class="preview" dir="auto">${words}</span> ${this.renderChip()}</span>
    </button>`;
  }

  private renderOnline(online: boolean): TemplateResult {
    const label = online ? s("online") : s("offline");
    return html`<span class="dot ${online ? "online" : ""}" role="img" aria-label=${label} title=${label}></span>`;
  }

  private renderChip(): TemplateResult | typeof nothing {
    const { help_state: help, assisting_admin_id: holder, assisting_admin_name: name, is_active } = this.session;
    if (holder) return html`<span class="chip ${holder === this.me ? "mine" : "staff"}">${holder === this.me ? s("yours") : name || holder}</span>`;
    if (!this.waiting && (help === "asked" || help === "told")) return html`<span class="chip help">${s("help")}</span>`;
    return is_active || this.waiting ? nothing : html`<span class="chip">${s("ended")}</span>`;
  }
}
