import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { ago, moment } from "../../i18n/times";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { StaffSession } from "../frames";
import { s } from "../i18n/texts";
import { timer } from "../lasting";
import { Live } from "../live";
import { staffStyles } from "./staff-styles";

/** What is known of a user: the session's facts, what the host page says, and their other sessions. Tells `open` with
 *  the id of a session, `block` and `close`. */
@customElement("chatbox-customer")
export class Customer extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: block;
        height: 100%;
        overflow-y: auto;
        padding: 0.5rem 1rem 1.5rem;
        background: var(--chatbox-side);
        font-size: 0.86rem;
        line-height: 1.45;
        scrollbar-width: thin;
      }
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        min-height: 2.6rem;
        margin-right: -0.5rem;
      }
      h3 {
        margin: 1.2rem 0 0.4rem;
        font-size: 0.78rem;
        font-weight: 600;
        color: var(--chatbox-ink-soft);
      }
      header h3 {
        margin: 0;
        font-size: 0.95rem;
        color: inherit;
      }
      dl {
        display: grid;
        grid-template-columns: minmax(5rem, auto) 1fr;
        gap: 0.3rem 0.8rem;
        margin: 0;
      }
      dt {
        color: var(--chatbox-ink-soft);
        overflow-wrap: anywhere;
      }
      dd {
        margin: 0;
        overflow-wrap: anywhere;
      }
      ul {
        margin: 0 -0.5rem;
        list-style: none;
      }
      li button {
        width: 100%;
        padding: 0.4rem 0.5rem;
        border-radius: 9px;
        text-align: left;
      }
      li button:hover {
        background: var(--chatbox-hover);
      }
      .name {
        display: block;
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
        font-weight: 550;
      }
      .facts {
        color: var(--chatbox-ink-soft);
        font-size: 0.79rem;
      }
      .quiet {
        color: var(--chatbox-ink-soft);
      }
      .block {
        margin-top: 1.6rem;
      }
    `,
  ];

  @property({ attribute: false }) session!: StaffSession;
  /** reads all sessions of a user */
  @property({ attribute: false }) read!: (userId: string) => Promise<StaffSession[]>;
  @state() private others: Live<string, StaffSession[]> | null = null;

  constructor() {
    super();
    new Localized(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.others?.stop();
  }

  override focus(): void {
    this.renderRoot.querySelector<HTMLElement>("button")?.focus();
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    const before = changed.get("session");
    if (this.others && before?.user_id === this.session.user_id) return;
    if (this.others && !changed.has("session")) return;
    this.others?.stop();
    this.others = new Live(this.session.user_id, this.read, () => this.requestUpdate(), 0);
    void this.others.read();
  }

  protected override render(): TemplateResult {
    const { session } = this;
    const context = Object.entries(session.context ?? {});
    return html`<header>
        <h3>${s("details")}</h3>
        <button class="icon" aria-label=${s("closeDetails")} @click=${() => this.tell("close")}>${icon("close")}</button>
      </header>
      <dl>
        ${this.fact(s("userId"), session.user_id)} ${this.fact(s("model"), session.model_id)}
        ${this.fact(s("started"), html`<time datetime=${session.start_time}>${moment(session.start_time)}</time>`)}
        ${this.fact(s("duration"), timer(session.duration))} ${this.fact(s("messages"), session.message_count)}
        ${this.fact(s("tokens"), session.total_tokens)}
        ${session.avg_response_time ? this.fact(s("answerTime"), s("seconds", { value: (session.avg_response_time / 1000).toFixed(2) })) : nothing}
      </dl>
      <h3>${s("context")}</h3>
      ${context.length > 0
        ? html`<dl>${context.map(([key, value]) => this.fact(key, value))}</dl>`
        : html`<p class="quiet">${s("contextNone")}</p>`}
      <h3>${s("otherSessions")}</h3>
      ${this.renderOthers()}
      <button class="button small danger block" @click=${() => this.tell("block")}>${icon("block")} ${s("blockUser")}</button>`;
  }

  private fact(name: string, value: unknown): TemplateResult | typeof nothing {
    return value === null || value === undefined || value === "" ? nothing : html`<dt>${name}</dt><dd dir="auto">${value}</dd>`;
  }

  private renderOthers(): TemplateResult {
    const { value, state: now } = this.others!;
    if (now === "failed") return html`<p class="trouble">${s("notRead")} <button class="link" @click=${() => this.others!.read()}>${s("again")}</button></p>`;
    if (value === null) return html`<p class="quiet">${s("reading")}</p>`;
    const others = value.filter(({ id }) => id !== this.session.id);
    if (others.length === 0) return html`<p class="quiet">${s("otherSessionsNone")}</p>`;
    return html`<ul>
      ${others.map(
        (session) => html`<li>
          <button @click=${() => this.tell("open", session.id)}>
            <span class="name" dir="auto">${session.name || s("untitled")}</span>
            <span class="facts">${ago(session.last_activity)} · ${s("messageCount", { count: session.message_count })}</span>
          </button>
        </li>`,
      )}
    </ul>`;
  }

  private tell(type: string, detail?: string): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
