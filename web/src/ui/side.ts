import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Session } from "../api";
import type { Sessions } from "../chat/sessions";
import { Localized, t } from "../i18n/locale";
import { icon, mark } from "./icons";
import "./preferences";
import "./session-row";
import type { SessionRow } from "./session-row";
import { sideStyles } from "./side-styles";
import { base } from "./styles";
import type { Appearance } from "./theme";

/** The user's conversations with search, and the page's preferences. Tells `new`, `open`, `close` and `command`. */
@customElement("chatbox-side")
export class Side extends LitElement {
  static override styles = [base, sideStyles];

  @property({ attribute: false }) sessions!: Sessions;
  @property({ attribute: false }) appearance!: Appearance;
  /** renders again when it changes; the list changes in place */
  @property({ type: Number }) revision = 0;
  @property() current: string | null = null;
  /** the conversation whose name is being changed */
  @property() editing: string | null = null;
  @property({ type: Boolean }) drawer = false;
  @property() userName = "";
  @state() private focused: string | null = null;
  @query("input") private readonly field!: HTMLInputElement;

  constructor() {
    super();
    new Localized(this);
  }

  override focus(): void {
    this.renderRoot.querySelector<HTMLElement>("button")?.focus();
  }

  search(): void {
    this.field.focus();
  }

  protected override render(): TemplateResult {
    return html`<div class="head">
        <span class="brand">${mark} ${t("appName")}</span>
        ${this.drawer
          ? html`<button class="icon" aria-label=${t("closeList")} @click=${() => this.tell("close")}>${icon("close")}</button>`
          : nothing}
      </div>
      <button class="button new" @click=${() => this.tell("new")}>${icon("plus")} ${t("newChat")}</button>
      <div class="search">
        ${icon("search")}
        <input
          type="search"
          aria-label=${t("search")}
          placeholder=${t("search")}
          .value=${this.sessions.query}
          @input=${() => this.sessions.search(this.field.value)}
        />
      </div>
      <div class="list">${this.renderList()}</div>
      <chatbox-preferences .appearance=${this.appearance} .userName=${this.userName}></chatbox-preferences>`;
  }

  private renderList(): TemplateResult {
    const { shown, state: now, query: asked, hasMore } = this.sessions;
    if (now === "failed") return this.renderFailed();
    if (now === "read" && shown.length === 0) return html`<p class="empty">${asked.trim() ? t("searchNone", { q: asked.trim() }) : t("listEmpty")}</p>`;
    const tabStop = shown.find(({ id }) => id === this.focused) ?? shown.find(({ id }) => id === this.current) ?? shown[0];
    return html`<ul aria-label=${t("conversations")} @keydown=${this.onKey} @focusin=${this.onFocus}>
        ${repeat(shown, ({ id }) => id, (session) => this.renderRow(session, session === tabStop))}
      </ul>
      ${hasMore ? html`<button class="button more" @click=${() => this.sessions.more()}>${t("more")}</button>` : nothing}`;
  }

  private renderRow(session: Session, tabStop: boolean): TemplateResult {
    return html`<li>
      <chatbox-session-row
        .session=${session}
        ?current=${session.id === this.current}
        ?editing=${session.id === this.editing}
        .focusable=${tabStop ? 0 : -1}
        @rename=${(event: CustomEvent<string>) => this.tell("rename", { session, name: event.detail })}
        @leave=${() => this.tell("rename", { session, name: session.name })}
      ></chatbox-session-row>
    </li>`;
  }

  private renderFailed(): TemplateResult {
    return html`<p class="empty" role="alert">
      ${t("listFailed")} <button class="link" @click=${() => this.sessions.read()}>${t("retry")}</button>
    </p>`;
  }

  private get rows(): SessionRow[] {
    return [...this.renderRoot.querySelectorAll<SessionRow>("chatbox-session-row")];
  }

  private onFocus(event: FocusEvent): void {
    this.focused = (event.target as SessionRow).session?.id ?? this.focused;
  }

  private onKey(event: KeyboardEvent): void {
    const { rows } = this;
    const at = rows.findIndex((row) => row.session.id === this.focused);
    const moves: Record<string, number> = { ArrowDown: Math.min(at + 1, rows.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 };
    const row = rows[moves[event.key] ?? -1];
    if (!row || event.defaultPrevented || inMenu(event)) return;
    event.preventDefault();
    row.focus();
  }

  private tell(type: string, detail?: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function inMenu(event: Event): boolean {
  return event.composedPath().some((node) => node instanceof Element && node.getAttribute("role") === "menu");
}
