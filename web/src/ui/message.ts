import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import type { Message } from "../chat/message";
import { Localized, t, type Key } from "../i18n/locale";
import { clock, moment } from "../i18n/times";
import { copyText } from "./browser";
import "./avatar";
import { icon } from "./icons";
import "./attachment";
import "./markdown-view";
import { messageStyles } from "./message-styles";
import { base } from "./styles";

const FINISH: Record<string, Key> = {
  stopped: "finishStopped",
  interrupted: "finishInterrupted",
  timeout: "finishTimeout",
  error: "finishError",
  length: "finishLength",
};
const FAILED = new Set(["interrupted", "timeout", "error"]);

/** What the reader may do with a message: each is also the name of the event that asks for it. */
export type MessageAction = "regenerate" | "retry" | "discard";

/** One message with its time, its state and what can be done with it. */
@customElement("chatbox-message")
export class MessageView extends LitElement {
  static override styles = [base, messageStyles, css`:host { display: block; }`];

  @property({ attribute: false }) message!: Message;
  /** renders again when it changes; messages change in place */
  @property({ type: Number }) revision = 0;
  @property({ attribute: false }) earlier: Message[] = [];
  @property({ type: Boolean }) regenerable = false;
  @property({ type: Boolean }) online = true;
  @state() private copied = false;
  @state() private showEarlier = false;

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    const { sender } = this.message;
    return html`<article class=${sender} aria-label=${this.author}>
      ${sender === "admin" ? this.renderAuthor() : nothing}
      ${this.renderEarlier()} ${this.renderBody()} ${this.renderFoot()}
    </article>`;
  }

  private get author(): string {
    const { sender, metadata } = this.message;
    if (sender === "admin") return metadata.admin_name || t("staff");
    return sender === "user" ? t("you") : t("assistant");
  }

  private renderAuthor(): TemplateResult {
    const { author } = this;
    return html`<p class="author">
      <chatbox-avatar .name=${author}></chatbox-avatar><span class="name" dir="auto">${author}</span>
      ${author === t("staffRole") ? nothing : html`<span class="role">${t("staffRole")}</span>`}
    </p>`;
  }

  private renderEarlier(): TemplateResult | typeof nothing {
    if (this.earlier.length === 0) return nothing;
    const label = this.showEarlier ? t("earlierAnswerHide") : t("earlierAnswer");
    return html`<button class="earlier" aria-expanded=${this.showEarlier} @click=${() => (this.showEarlier = !this.showEarlier)}>
        ${icon("chevron")} ${label}
      </button>
      ${this.showEarlier ? html`<div class="past">${this.earlier.map((old) => renderMarkdown(old))}</div>` : nothing}`;
  }

  private renderBody(): TemplateResult {
    const { message } = this;
    if (message.kind !== "text") return html`<chatbox-attachment .message=${message}></chatbox-attachment>`;
    if (message.sender !== "ai") return html`<div class="words" dir="auto">${message.content}</div>`;
    return message.content === "" && message.state === "done" ? html`` : renderMarkdown(message);
  }

  private renderFoot(): TemplateResult {
    const { message } = this;
    return html`<footer>
      ${this.renderState()}
      ${message.state === "done" || message.state === "failed" ? this.renderTime() : nothing}
      ${message.state === "done" && message.kind === "text" ? this.renderActions() : nothing}
    </footer>`;
  }

  private renderTime(): TemplateResult {
    return html`<time datetime=${this.message.timestamp} title=${moment(this.message.timestamp)}>${clock(this.message.timestamp)}</time>`;
  }

  private renderState(): TemplateResult | typeof nothing {
    const { state: now, problem } = this.message;
    if (now === "sending") return html`<span class="pending">${this.online ? t("sending") : t("notSent")}</span>`;
    if (now === "failed") return this.renderFailure(problem);
    const finish = now === "done" ? this.message.metadata.finish_reason : undefined;
    const key = finish ? FINISH[finish] : undefined;
    if (!key) return nothing;
    const bad = FAILED.has(finish ?? "");
    return html`<span class=${bad ? "finish bad" : "finish"}>${bad ? icon("warning") : nothing}${t(key)}</span>
      ${bad && this.regenerable ? this.button("retry", "regenerate") : nothing}`;
  }

  private renderFailure(problem: string | null): TemplateResult {
    return html`<span class="finish bad">${icon("warning")}${problemText(problem)}</span>
      ${this.button("retry", "retry")} ${this.button("discard", "discard")}`;
  }

  private button(label: Key, action: MessageAction): TemplateResult {
    return html`<button class="link" @click=${() => this.tell(action)}>${t(label)}</button>`;
  }

  private renderActions(): TemplateResult {
    const { sender, content } = this.message;
    const failed = FAILED.has(this.message.metadata.finish_reason ?? "");
    return html`<span class="actions">
      ${content === ""
        ? nothing
        : html`<button class="act" title=${t("copy")} aria-label=${this.copied ? t("copied") : t("copy")} @click=${this.copy}>
            ${icon(this.copied ? "check" : "copy")}
          </button>`}
      ${sender === "ai" && this.regenerable && !failed
        ? html`<button class="act" title=${t("regenerate")} aria-label=${t("regenerate")} @click=${() => this.tell("regenerate")}>
            ${icon("again")}
          </button>`
        : nothing}
    </span>`;
  }

  private async copy(): Promise<void> {
    this.copied = await copyText(this.message.content);
    setTimeout(() => (this.copied = false), 1_500);
  }

  private tell(action: MessageAction): void {
    this.dispatchEvent(new CustomEvent(action, { detail: this.message, bubbles: true, composed: true }));
  }
}

/** What a refusal's code means to the reader. */
export function problemText(code: string | null): string {
  const known = { TOO_MANY_REQUESTS: 1, CONFLICT: 1, INVALID_FORMAT: 1, MISSING_FIELD: 1, UNREACHABLE: 1, too_big: 1, again: 1, email: 1 };
  return code !== null && code in known ? t(`error${code}` as Key) : t("errorOther");
}

function renderMarkdown(message: Message): TemplateResult {
  return html`<chatbox-markdown
    dir="auto"
    .text=${message.content}
    .generation=${message.generation}
    .done=${message.state === "done"}
  ></chatbox-markdown>`;
}
