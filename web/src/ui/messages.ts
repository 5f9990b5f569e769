import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { repeated } from "../chat/call";
import type { Chat } from "../chat/chat";
import type { Message } from "../chat/message";
import { Localized, t } from "../i18n/locale";
import { day, dayKey } from "../i18n/times";
import { Announcer } from "./announcer";
import "./avatar";
import { Bottom } from "./bottom";
import { eventText } from "./event-text";
import { spoken } from "./spoken";
import { icon } from "./icons";
import "./message";
import { messagesStyles } from "./messages-styles";
import { base } from "./styles";

/** The conversation: messages by day, lines about it, and the sign that an answer is on its way. */
@customElement("chatbox-messages")
export class MessagesView extends LitElement {
  static override styles = [base, messagesStyles, css`:host { display: block; }`];

  @property({ attribute: false }) chat!: Chat;
  /** renders again when it changes; the chat changes in place */
  @property({ type: Number }) revision = 0;

  private readonly bottom = new Bottom(this);
  private readonly announcer = new Announcer(spoken);
  private newest: string | undefined;
  private session: string | null = null;

  constructor() {
    super();
    new Localized(this);
  }

  /** Show the end, wherever the reader is. */
  toEnd(): void {
    this.bottom.jump();
  }

  protected override willUpdate(): void {
    const last = this.chat.log.messages.at(-1);
    if (this.chat.sessionId !== this.session) {
      this.session = this.chat.sessionId;
      this.bottom.jump();
      this.announcer.silence(this.chat.log.messages);
    } else if (last && last.id !== this.newest) {
      this.bottom.news();
    }
    this.newest = last?.id;
  }

  protected override render(): TemplateResult {
    const { log, reading } = this.chat;
    return html`<div class="scroller" role="region" aria-label=${t("messages")} tabindex="0">
        <div class="content">
          ${log.before !== null && reading === "read" ? this.renderEarlier() : nothing}
          ${reading === "failed" ? this.renderUnreadable() : nothing} ${this.renderMessages()} ${this.renderSigns()}
        </div>
      </div>
      ${this.renderPill()}
      <div class="hidden" role="status" aria-live="polite">${this.announcer.next(log.messages, reading === "read")}</div>`;
  }

  protected override updated(): void {
    const find = (name: string): HTMLElement => this.renderRoot.querySelector<HTMLElement>(name)!;
    this.bottom.watch(find(".scroller"), find(".content"));
  }

  private renderEarlier(): TemplateResult {
    const read = async (): Promise<void> => {
      await this.chat.readEarlier();
      await this.updateComplete;
    };
    return html`<button class="button before" @click=${() => this.bottom.hold(read)}>${t("earlier")}</button>`;
  }

  private renderUnreadable(): TemplateResult {
    return html`<p class="unreadable" role="alert">
      ${t("historyFailed")} <button class="link" @click=${() => this.chat.read()}>${t("retry")}</button>
    </p>`;
  }

  private renderMessages(): unknown {
    const { messages } = this.chat.log;
    const old = repeated(messages);
    const shown = messages.filter((message) => !message.superseded && !old.has(message.id) && isShown(message));
    const lastAnswer = shown.findLast((message) => message.sender === "ai" && message.kind === "text");
    return repeat(
      shown,
      (message) => message.id,
      (message, index) => html`${this.renderDay(message, shown[index - 1])}${this.renderOne(message, message === lastAnswer, message === shown.at(-1))}`,
    );
  }

  private renderDay(message: Message, before: Message | undefined): TemplateResult | typeof nothing {
    if (before && dayKey(before.timestamp) === dayKey(message.timestamp)) return nothing;
    return html`<p class="day">${day(message.timestamp)}</p>`;
  }

  private renderOne(message: Message, lastAnswer: boolean, last: boolean): TemplateResult {
    if (message.kind === "event") return this.renderEvent(message);
    return html`<chatbox-message
      .message=${message}
      .revision=${message.revision}
      .earlier=${message.sender === "ai" ? this.chat.log.earlier(message) : []}
      .regenerable=${lastAnswer && !this.chat.answering && this.chat.facts.staffName === null}
      .online=${this.chat.link.is === "open"}
      ?last=${last || lastAnswer}
    ></chatbox-message>`;
  }

  private renderSigns(): TemplateResult {
    const waiting = this.chat.log.expected !== null;
    return html`${waiting ? html`<div class="thinking" role="img" aria-label=${t("thinking")}><i></i><i></i><i></i></div>` : nothing}
    ${waiting ? nothing : this.renderTypist()}`;
  }

  private renderEvent(message: Message): TemplateResult {
    const staff = message.metadata.event?.startsWith("admin_");
    return html`<p class="event ${staff ? "staff" : ""}"><span>${eventText(message, this.chat.models)}</span></p>`;
  }

  private renderTypist(): TemplateResult | typeof nothing {
    const { typist } = this.chat;
    if (typist === null) return nothing;
    const name = typist.name || t("staff");
    if (typist.sender !== "admin") return html`<p class="typing">${t("someoneTypes")}</p>`;
    return html`<p class="typing"><chatbox-avatar .name=${name}></chatbox-avatar>${t("staffTypes", { name })}</p>`;
  }

  private renderPill(): TemplateResult | typeof nothing {
    if (this.bottom.here) return nothing;
    const label = this.bottom.unseen ? t("newMessages") : "";
    return html`<button class="pill ${label ? "news" : ""}" aria-label=${label || t("toBottom")} @click=${() => this.bottom.jump(true)}>
      ${icon("down")}${label}
    </button>`;
  }
}

/** Lines that say nothing to the reader are left out. */
function isShown(message: Message): boolean {
  return message.kind !== "event" || eventText(message, []) !== "";
}
