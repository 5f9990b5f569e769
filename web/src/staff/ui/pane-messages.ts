import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Message } from "../../chat/message";
import { Localized, t } from "../../i18n/locale";
import { day, dayKey } from "../../i18n/times";
import { Announcer } from "../../ui/announcer";
import { Bottom } from "../../ui/bottom";
import { icon } from "../../ui/icons";
import { messagesStyles } from "../../ui/messages-styles";
import { base } from "../../ui/styles";
import type { Conversation } from "../conversation";
import { eventText } from "../event-text";
import { s } from "../i18n/texts";
import "./staff-message";

const SPOKEN = 300;

/** What is said in a conversation that staff watch, with its notes and the lines about it. */
@customElement("chatbox-pane-messages")
export class PaneMessages extends LitElement {
  static override styles = [
    base,
    messagesStyles,
    css`
      :host {
        display: block;
      }
      .content {
        padding: 0.9rem 1rem 1rem;
      }
      .event {
        padding: 0.5rem 0;
      }
    `,
  ];

  @property({ attribute: false }) conversation!: Conversation;
  /** renders again when it changes; the conversation changes in place */
  @property({ type: Number }) revision = 0;
  @property() me = "";
  @property({ type: Boolean }) online = true;

  private readonly bottom = new Bottom(this);
  private readonly announcer = new Announcer((message) => this.spoken(message));
  private newest: string | undefined;

  constructor() {
    super();
    new Localized(this);
  }

  /** Show the end, wherever the reader is. */
  toEnd(): void {
    this.bottom.jump();
  }

  override focus(): void {
    void this.updateComplete.then(() => this.renderRoot.querySelector<HTMLElement>(".scroller")?.focus());
  }

  protected override willUpdate(): void {
    const last = this.conversation.log.messages.at(-1);
    if (last && last.id !== this.newest) this.bottom.news();
    this.newest = last?.id;
  }

  protected override render(): TemplateResult {
    const { log, reading } = this.conversation;
    return html`<div class="scroller" role="region" aria-label=${s("messagesWith", { name: this.userName })} tabindex="0">
        <div class="content">
          ${log.before !== null ? this.renderEarlier() : nothing} ${reading === "read" ? nothing : this.renderReading()}
          ${this.renderMessages()} ${this.renderSigns()}
        </div>
      </div>
      ${this.bottom.here ? nothing : this.renderPill()}
      <div class="hidden" role="status" aria-live="polite">${this.announcer.next(log.messages, reading === "read")}</div>`;
  }

  protected override updated(): void {
    const find = (name: string): HTMLElement => this.renderRoot.querySelector<HTMLElement>(name)!;
    this.bottom.watch(find(".scroller"), find(".content"));
  }

  private get userName(): string {
    const { session } = this.conversation;
    return session?.user_name || session?.user_id || s("user");
  }

  private spoken({ sender, content }: Message): string {
    return sender === "user" && content ? s("userSays", { name: this.userName, text: content.slice(0, SPOKEN) }) : "";
  }

  private renderEarlier(): TemplateResult {
    const read = async (): Promise<void> => {
      await this.conversation.readEarlier();
      await this.updateComplete;
    };
    return html`<button class="button before" @click=${() => this.bottom.hold(read)}>${t("earlier")}</button>`;
  }

  private renderReading(): TemplateResult {
    if (this.conversation.reading === "failed") return html`<p class="unreadable" role="alert">${t("historyFailed")}</p>`;
    return html`<p class="day">${s("reading")}</p>`;
  }

  private renderMessages(): unknown {
    const shown = this.conversation.log.messages.filter((message) => !message.superseded && this.isShown(message));
    return repeat(
      shown,
      (message) => message.id,
      (message, index) => html`${this.renderDay(message, shown[index - 1])}${this.renderOne(message)}`,
    );
  }

  /** Lines that say nothing to the reader are left out. */
  private isShown(message: Message): boolean {
    return message.kind !== "event" || eventText(message, this.me) !== "";
  }

  private renderDay(message: Message, before: Message | undefined): TemplateResult | typeof nothing {
    if (before && dayKey(before.timestamp) === dayKey(message.timestamp)) return nothing;
    return html`<p class="day">${day(message.timestamp)}</p>`;
  }

  private renderOne(message: Message): TemplateResult {
    if (message.kind === "event") return html`<p class="event">${eventText(message, this.me)}</p>`;
    return html`<chatbox-staff-message
      .message=${message}
      .revision=${message.revision}
      .userName=${this.userName}
      .me=${this.me}
      .online=${this.online}
      @retry=${() => this.conversation.retry(message)}
      @discard=${() => this.conversation.discard(message)}
    ></chatbox-staff-message>`;
  }

  private renderSigns(): TemplateResult {
    const { log, othersType, typist } = this.conversation;
    const waiting = log.expected !== null;
    return html`${waiting ? html`<div class="thinking" role="img" aria-label=${t("thinking")}><i></i><i></i><i></i></div>` : nothing}
    ${othersType ? html`<p class="typing">${s("types", { name: typist || this.userName })}</p>` : nothing}`;
  }

  private renderPill(): TemplateResult {
    const label = this.bottom.unseen ? t("newMessages") : "";
    return html`<button class="pill ${label ? "news" : ""}" aria-label=${label || t("toBottom")} @click=${() => this.bottom.jump(true)}>
      ${icon("down")}${label}
    </button>`;
  }
}
