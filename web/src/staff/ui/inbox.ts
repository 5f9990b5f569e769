import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { locale, Localized } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { Desk } from "../desk";
import type { StaffSession } from "../frames";
import { s } from "../i18n/texts";
import { filterCount, type ListQuery } from "../list-query";
import "./list-filters";
import type { ListFilters } from "./list-filters";
import "./list-row";
import type { ListRow } from "./list-row";
import { staffStyles } from "./staff-styles";
import { Ticking } from "./ticking";
import { nothingHere, trouble, troubleText } from "./trouble";

/** Who waits for help, and all sessions. Tells `open` with the id of a session, and `query`. */
@customElement("chatbox-inbox")
export class Inbox extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-height: 0;
        height: 100%;
        background: var(--chatbox-side);
      }
      .scroll {
        flex: 1;
        min-height: 0;
        overflow-y: auto;
        overscroll-behavior: contain;
        scrollbar-width: thin;
        scrollbar-color: var(--chatbox-line) transparent;
      }
      .heading {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        min-height: 2.9rem;
        padding: 0.4rem 1.1rem 0;
      }
      h2 {
        flex: 1;
        font-size: 0.9rem;
        font-weight: 640;
      }
      .total {
        font-size: 0.8rem;
        color: var(--chatbox-ink-soft);
        font-variant-numeric: tabular-nums;
      }
      .count {
        min-width: 1.5rem;
        padding: 0 0.45rem;
        border-radius: 1rem;
        background: var(--chatbox-bad);
        color: var(--chatbox-page);
        font-size: 0.78rem;
        font-weight: 650;
        line-height: 1.5rem;
        text-align: center;
      }
      .nobody {
        padding: 0.1rem 1.1rem 0.7rem;
        font-size: 0.84rem;
        color: var(--chatbox-ink-soft);
      }
      .queue {
        border-bottom: 1px solid var(--chatbox-line);
      }
      ul {
        padding: 0 0.5rem 0.6rem;
        list-style: none;
      }
      li + li {
        margin-top: 3px;
      }
      .paging {
        display: flex;
        align-items: center;
        justify-content: space-between;
        min-height: 2.9rem;
        padding: 0.25rem 0.6rem calc(0.25rem + env(safe-area-inset-bottom));
        border-top: 1px solid var(--chatbox-line);
        font-size: 0.8rem;
        color: var(--chatbox-ink-soft);
        font-variant-numeric: tabular-nums;
      }
      .paging .icon {
        width: 2.3rem;
        height: 2.3rem;
      }
      .left svg {
        transform: rotate(90deg);
      }
      .right svg {
        transform: rotate(-90deg);
      }
      .stale {
        padding: 0 1.1rem 0.5rem;
        font-size: 0.82rem;
        color: var(--chatbox-bad);
      }
    `,
  ];

  @property({ attribute: false }) desk!: Desk;
  /** renders again when it changes; the desk changes in place */
  @property({ type: Number }) revision = 0;
  @property() current: string | null = null;
  @state() private focused: string | null = null;
  @query("chatbox-list-filters") private readonly filters!: ListFilters;

  constructor() {
    super();
    new Localized(this);
    new Ticking(this, () => true);
  }

  /** Narrow the list. */
  search(): void {
    this.filters.focus();
  }

  /** Go to a session's row, or to the first. */
  override focus(options?: FocusOptions, id?: string | null): void {
    void this.updateComplete.then(() => (this.rows.find((row) => row.session.id === id) ?? this.rows[0])?.focus(options));
  }

  protected override render(): TemplateResult {
    const { queue, list } = this.desk;
    const shown = [...queue.sessions, ...list.sessions];
    const tabStop = shown.find(({ id }) => id === this.focused) ?? shown[0];
    return html`<div class="scroll" @keydown=${this.onKey} @focusin=${this.onFocus}>
        <section class="queue" aria-labelledby="queue">
          <div class="heading">
            <h2 id="queue">${s("queue")}</h2>
            ${queue.total > 0 ? html`<span class="count">${queue.total}</span>` : nothing}
          </div>
          ${queue.sessions.length > 0 ? this.renderRows(queue.sessions, true, tabStop) : html`<p class="nobody">${s("queueEmpty")}</p>`}
        </section>
        <section
          aria-labelledby="all"
          @pointermove=${(event: PointerEvent) => event.pointerType === "mouse" && list.hold()}
          @pointerleave=${() => list.letGo()}
        >
          <div class="heading">
            <h2 id="all">${s("sessions")}</h2>
            ${list.state === "reading" ? nothing : html`<span class="total">${s("totalCount", { count: number(list.total) })}</span>`}
          </div>
          <chatbox-list-filters .asked=${list.query} @query=${(event: CustomEvent<ListQuery>) => this.ask(event.detail)}></chatbox-list-filters>
          ${this.renderList(tabStop)}
        </section>
      </div>
      ${list.total > list.query.limit || list.query.offset > 0 ? this.renderPaging() : nothing}`;
  }

  private renderList(tabStop: StaffSession | undefined): TemplateResult {
    const { state: now, sessions, problem, query: asked } = this.desk.list;
    if (now === "failed") return trouble(problem, () => this.desk.list.read());
    if (now === "reading" && sessions.length === 0) return html`<p class="message">${s("reading")}</p>`;
    if (sessions.length === 0) return nothingHere("chats", filterCount(asked) > 0 || asked.offset > 0 ? s("sessionsNoneFound") : s("sessionsNone"));
    return html`${problem && problem !== "UNREACHABLE" ? html`<p class="stale" role="status">${troubleText(problem)}</p>` : nothing}
    ${this.renderRows(sessions, false, tabStop)}`;
  }

  private renderRows(sessions: StaffSession[], waiting: boolean, tabStop: StaffSession | undefined): TemplateResult {
    const now = Math.floor(Date.now() / (waiting ? 1_000 : 30_000));
    return html`<ul>
      ${repeat(
        sessions,
        ({ id }) => id,
        (session) => html`<li>
          <chatbox-staff-row
            .session=${session}
            .preview=${this.desk.list.previews.get(session.id) ?? ""}
            .me=${this.desk.me.id}
            .now=${now}
            .focusable=${session === tabStop ? 0 : -1}
            ?waiting=${waiting}
            ?current=${session.id === this.current}
          ></chatbox-staff-row>
        </li>`,
      )}
    </ul>`;
  }

  private renderPaging(): TemplateResult {
    const { query: asked, total, sessions } = this.desk.list;
    const { offset, limit } = asked;
    const go = (to: number): void => this.ask({ ...asked, offset: Math.max(0, to) });
    const button = (side: "left" | "right", label: string, to: number, off: boolean): TemplateResult =>
      html`<button class="icon ${side}" aria-label=${label} title=${label} ?disabled=${off} @click=${() => go(to)}>${icon("chevron")}</button>`;
    const from = sessions.length > 0 ? offset + 1 : 0;
    return html`<div class="paging" role="group" aria-label=${s("paging")}>
      ${button("left", s("pageBefore"), offset - limit, offset === 0)}
      <span>${s("pageOf", { from: number(from), to: number(offset + sessions.length), total: number(total) })}</span>
      ${button("right", s("pageNext"), offset + limit, offset + limit >= total)}
    </div>`;
  }

  private ask(asked: ListQuery): void {
    this.dispatchEvent(new CustomEvent("query", { detail: asked }));
  }

  private get rows(): ListRow[] {
    return [...this.renderRoot.querySelectorAll<ListRow>("chatbox-staff-row")];
  }

  private onFocus(event: FocusEvent): void {
    this.focused = (event.target as ListRow).session?.id ?? this.focused;
  }

  private onKey(event: KeyboardEvent): void {
    const { rows } = this;
    const at = rows.findIndex((row) => row === event.target);
    const moves: Record<string, number> = { ArrowDown: Math.min(at + 1, rows.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: rows.length - 1 };
    const row = rows[moves[event.key] ?? -1];
    if (at < 0 || !row) return;
    event.preventDefault();
    row.focus();
  }
}

function number(value: number): string {
  return new Intl.NumberFormat(locale.tag).format(value);
}
