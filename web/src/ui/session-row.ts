import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import type { Session } from "../api";
import { Localized, t, type Key } from "../i18n/locale";
import { ago, moment } from "../i18n/times";
import { commandEvent, commandItems } from "./commands";
import "./menu";
import "./name-field";
import { sessionPath } from "./routes";
import { base } from "./styles";

/** One conversation of the list. Tells `open`, `command`, `rename` and `leave`. */
@customElement("chatbox-session-row")
export class SessionRow extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .row {
        display: grid;
        grid-template-columns: 1fr auto;
        align-items: center;
        border-radius: 11px;
        transition: background 0.12s;
      }
      .row:hover {
        background: var(--chatbox-hover);
      }
      .row.current {
        background: var(--chatbox-tint);
      }
      a {
        display: block;
        min-width: 0;
        padding: 0.5rem 0 0.5rem 0.75rem;
        color: inherit;
        text-decoration: none;
        border-radius: 11px;
      }
      .name {
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
        font-size: 0.92rem;
        font-weight: 500;
        line-height: 1.45;
      }
      .current .name {
        font-weight: 600;
      }
      .facts {
        display: flex;
        align-items: center;
        gap: 0.45rem;
        overflow: hidden;
        white-space: nowrap;
        font-size: 0.76rem;
        line-height: 1.5;
        color: var(--chatbox-ink-soft);
      }
      .badge {
        padding: 0 0.45em;
        border-radius: 6px;
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
        font-weight: 600;
        font-size: 0.7rem;
      }
      .badge.quiet {
        background: var(--chatbox-page);
        color: var(--chatbox-ink-soft);
      }
      .badge.active {
        background: none;
        color: var(--chatbox-accent);
        padding: 0;
      }
      .badge.active::before {
        content: "";
        display: inline-block;
        width: 0.45rem;
        height: 0.45rem;
        margin-right: 0.3rem;
        border-radius: 50%;
        background: currentColor;
      }
      chatbox-menu {
        margin: 0 0.3rem;
      }
      @media (hover: hover) {
        .row:not(:hover, :focus-within, .current) chatbox-menu {
          opacity: 0;
        }
      }
      .editing {
        padding: 0.5rem;
      }
    `,
  ];

  @property({ attribute: false }) session!: Session;
  @property({ type: Boolean }) current = false;
  @property({ type: Boolean }) editing = false;
  /** 0 on the one row that the Tab key reaches, else -1 */
  @property({ type: Number }) focusable = -1;
  @query("a") private readonly anchor!: HTMLElement | null;

  constructor() {
    super();
    new Localized(this);
  }

  override focus(): void {
    this.anchor?.focus();
  }

  protected override render(): TemplateResult {
    const { session } = this;
    if (this.editing) return html`<div class="editing"><chatbox-name-field .name=${session.name}></chatbox-name-field></div>`;
    const name = session.name || t("untitled");
    return html`<div class="row ${this.current ? "current" : ""}">
      <a href=${sessionPath(session.id)} tabindex=${this.focusable} aria-current=${this.current ? "page" : nothing} @click=${this.open}>
        <div class="name" dir="auto">${name}</div>
        <div class="facts">
          <time datetime=${session.last_activity} title=${moment(session.last_activity)}>${ago(session.last_activity)}</time>
          <span aria-hidden="true">·</span>
          <span>${session.message_count === 1 ? t("messageCountOne") : t("messageCount", { count: session.message_count })}</span>
          ${this.renderBadges()}
        </div>
      </a>
      <chatbox-menu
        small
        .label=${t("actions", { name })}
        .items=${commandItems()}
        .focusable=${this.focusable}
        @choose=${(event: CustomEvent<string>) => this.dispatchEvent(commandEvent(event.detail, session))}
      ></chatbox-menu>
    </div>`;
  }

  private renderBadges(): unknown[] {
    const { is_active, help_state, share_token, admin_assisted } = this.session;
    const badge = (shown: unknown, key: Key, kind: string): unknown =>
      shown ? html`<span class="badge ${kind}">${t(key)}</span>` : nothing;
    return [
      badge(is_active, "badgeActive", "active"),
      badge(help_state === "asked" || help_state === "told", "badgeHelp", ""),
      badge(admin_assisted, "badgeStaff", ""),
      badge(share_token, "badgeShared", "quiet"),
    ];
  }

  private open(event: MouseEvent): void {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    this.dispatchEvent(new CustomEvent("open", { detail: this.session.id, bubbles: true, composed: true }));
  }
}
