import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { icon, mark, type Icon } from "../../ui/icons";
import "../../ui/preferences";
import { base } from "../../ui/styles";
import type { Appearance } from "../../ui/theme";
import type { Bell } from "../bell";
import type { Colleague } from "../frames";
import { s, type StaffKey } from "../i18n/texts";
import { VIEWS, type View } from "../place";
import { staffStyles } from "./staff-styles";

const SIGNS: Record<View, Icon> = { conversations: "chats", metrics: "chart", takeovers: "hand", audit: "audit", alerts: "warning", replies: "quote" };
const NAMES: Record<View, StaffKey> = {
  conversations: "navConversations",
  metrics: "navMetrics",
  takeovers: "navTakeovers",
  audit: "navAudit",
  alerts: "navAlerts",
  replies: "navReplies",
};

/** The parts of the dashboard, and who one is: a column, or a row at the bottom of a phone. Tells `view`, `keys`. */
@customElement("chatbox-rail")
export class Rail extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        align-items: center;
        width: 5.4rem;
        height: 100%;
        padding: 0.8rem 0.35rem 0.6rem;
        border-right: 1px solid var(--chatbox-line);
        background: var(--chatbox-side);
      }
      .mark {
        width: 1.9rem;
        height: 1.9rem;
        margin-bottom: 0.9rem;
        stroke: none;
        fill: var(--chatbox-side);
      }
      .mark rect {
        fill: light-dark(#0f6657, #2b7d6c);
      }
      .mark path {
        fill: #f6f4ee;
      }
      .mark circle {
        fill: #0f6657;
      }
      .mark .dot {
        fill: #d8943d;
        border: 0;
      }
      nav {
        display: flex;
        flex: 1;
        flex-direction: column;
        gap: 0.2rem;
        width: 100%;
      }
      .to {
        position: relative;
        display: grid;
        justify-items: center;
        gap: 0.15rem;
        padding: 0.5rem 0.1rem 0.4rem;
        border-radius: 11px;
        font-size: 0.7rem;
        font-weight: 550;
        line-height: 1.3;
        color: var(--chatbox-ink-soft);
      }
      .to:hover {
        background: var(--chatbox-hover);
      }
      .to[aria-current] {
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
      }
      .count {
        position: absolute;
        top: 0.25rem;
        left: calc(50% + 0.35rem);
        min-width: 1.15rem;
        padding: 0 0.3rem;
        border-radius: 1rem;
        background: var(--chatbox-bad);
        color: var(--chatbox-page);
        font-size: 0.68rem;
        font-weight: 700;
        line-height: 1.15rem;
        text-align: center;
      }
      .off {
        color: var(--chatbox-warm);
      }
      [popover] {
        position: fixed;
        inset: auto auto 0.75rem 5.8rem;
        width: min(19rem, calc(100vw - 1rem));
        margin: 0;
        padding: 0.9rem 0.25rem 0.2rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 14px;
        background: var(--chatbox-raised);
        color: var(--chatbox-ink);
        box-shadow: var(--chatbox-shadow);
      }
      .me {
        padding: 0 0.85rem 0.5rem;
        line-height: 1.4;
      }
      .me strong {
        display: block;
        font-weight: 620;
        overflow-wrap: anywhere;
      }
      .role,
      .team {
        font-size: 0.83rem;
        color: var(--chatbox-ink-soft);
      }
      .entry {
        display: flex;
        align-items: center;
        gap: 0.7rem;
        width: calc(100% - 0.6rem);
        min-height: 2.5rem;
        margin: 0 0.3rem;
        padding: 0 0.55rem;
        border-radius: 9px;
        font-size: 0.9rem;
      }
      .entry:hover {
        background: var(--chatbox-hover);
      }
      chatbox-preferences {
        margin-top: 0.4rem;
      }
      @media (max-width: 760px) {
        :host {
          flex-direction: row;
          width: 100%;
          height: auto;
          padding: 0.2rem 0.2rem calc(0.2rem + env(safe-area-inset-bottom));
          border-right: 0;
          border-top: 1px solid var(--chatbox-line);
        }
        .mark,
        .bell {
          display: none;
        }
        nav {
          flex-direction: row;
          gap: 0;
        }
        .to {
          flex: 1 1 auto;
          min-width: 0;
          padding: 0.4rem 0 0.3rem;
          font-size: 0.6rem;
        }
        .label {
          max-width: 100%;
          padding-top: 0.1em;
          overflow: hidden;
          text-overflow: ellipsis;
        }
        .person {
          flex: 0 0 2.4rem;
        }
        [popover] {
          inset: auto 0.5rem 4.2rem auto;
        }
      }
    `,
  ];

  @property() view: View = "conversations";
  @property({ type: Number }) waiting = 0;
  @property({ attribute: false }) me!: Colleague;
  @property() roleHeld = "";
  @property({ attribute: false }) colleagues: Colleague[] = [];
  @property({ attribute: false }) bell!: Bell;
  @property({ attribute: false }) appearance!: Appearance;
  /** renders again when it changes; the bell changes in place */
  @property({ type: Number }) revision = 0;
  @query("[popover]") private readonly menu!: HTMLElement;

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    return html`${mark}
      <nav aria-label=${s("parts")}>${VIEWS.map((view) => this.renderView(view))}</nav>
      ${this.renderBell("to bell")}
      <button class="to person" aria-haspopup="dialog" aria-label=${s("account", { name: this.me.name })} title=${this.me.name} popovertarget="me">
        ${icon("person")}<span class="label" aria-hidden="true">${s("you")}</span>
      </button>
      <div id="me" popover role="dialog" aria-label=${s("account", { name: this.me.name })}>
        <p class="me">
          <strong dir="auto">${this.me.name}</strong>
          <span class="role">${s("role", { role: this.roleName })}</span>
        </p>
        <p class="me team">${s("colleagues", { names: this.colleagues.map(({ name }) => name).join(", ") })}</p>
        ${this.renderBell("entry")}
        <button class="entry" @click=${this.keys}>${icon("keyboard")} ${s("keys")}</button>
        <chatbox-preferences .appearance=${this.appearance}></chatbox-preferences>
      </div>`;
  }

  private get roleName(): string {
    return this.roleHeld === "admin" ? s("roleAdmin") : s("roleChatAdmin");
  }

  private renderView(view: View): TemplateResult {
    const waiting = view === "conversations" && this.waiting > 0;
    return html`<button
      class="to"
      aria-current=${this.view === view ? "page" : nothing}
      @click=${() => this.dispatchEvent(new CustomEvent("view", { detail: view }))}
    >
      ${icon(SIGNS[view])}<span class="label">${s(NAMES[view])}</span>
      ${waiting ? html`<span class="count">${this.waiting}<span class="hidden"> ${s("waitingCount")}</span></span>` : nothing}
    </button>`;
  }

  private renderBell(kind: string): TemplateResult {
    const { muted, allowed } = this.bell;
    const label = muted ? s("soundOff") : allowed ? s("soundOn") : s("soundWaits");
    return html`<button class="${kind} ${muted ? "off" : ""}" aria-pressed=${!muted} title=${label} @click=${() => this.bell.toggle()}>
      ${icon(muted ? "bellOff" : "bell")}<span class="label">${kind === "entry" ? label : s("sound")}</span>
    </button>`;
  }

  private keys(): void {
    this.menu.hidePopover();
    this.dispatchEvent(new CustomEvent("keys"));
  }
}
