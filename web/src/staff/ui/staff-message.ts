import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Message } from "../../chat/message";
import { Localized, t, type Key } from "../../i18n/locale";
import { clock, moment } from "../../i18n/times";
import "../../ui/attachment";
import { icon } from "../../ui/icons";
import "../../ui/markdown-view";
import { problemText } from "../../ui/message";
import { base } from "../../ui/styles";
import { s } from "../i18n/texts";

const FINISH: Record<string, Key> = {
  stopped: "finishStopped",
  interrupted: "finishInterrupted",
  timeout: "finishTimeout",
  error: "finishError",
  length: "finishLength",
};

/** One message as staff see it: the user and the AI on the left, staff on the right. Tells `retry` and `discard`. */
@customElement("chatbox-staff-message")
export class StaffMessage extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      article {
        display: flex;
        flex-direction: column;
        align-items: flex-start;
        padding: 0.35rem 0;
      }
      .admin,
      .note {
        align-items: flex-end;
      }
      .by {
        display: flex;
        align-items: center;
        gap: 0.4rem;
        margin: 0 0.2rem 0.2rem;
        font-size: 0.76rem;
        line-height: 1.4;
        color: var(--chatbox-ink-soft);
      }
      .by strong {
        font-weight: 600;
        overflow-wrap: anywhere;
      }
      .by svg {
        width: 0.95rem;
        height: 0.95rem;
      }
      .words {
        max-width: min(88%, 36rem);
        padding: 0.5rem 0.85rem;
        border-radius: 5px 16px 16px 16px;
        background: var(--chatbox-hover);
        white-space: pre-wrap;
        overflow-wrap: anywhere;
        font-size: 0.94rem;
        line-height: 1.5;
      }
      .admin .words {
        border-radius: 16px 5px 16px 16px;
        background: var(--chatbox-tint);
      }
      .note .words {
        border: 1px dashed var(--chatbox-warm);
        border-radius: 10px;
        background: var(--chatbox-warm-tint);
      }
      .note .by {
        color: var(--chatbox-warm);
      }
      .ai .answer {
        width: 100%;
        padding-left: 0.75rem;
        border-left: 2px solid var(--chatbox-line);
        font-size: 0.94rem;
      }
      .ai.streaming .answer {
        border-left-color: var(--chatbox-accent);
      }
      .after {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.2rem 0.6rem;
        margin: 0.15rem 0.2rem 0;
        font-size: 0.76rem;
        color: var(--chatbox-ink-soft);
      }
      .bad {
        color: var(--chatbox-bad);
      }
    `,
  ];

  @property({ attribute: false }) message!: Message;
  /** renders again when it changes; messages change in place */
  @property({ type: Number }) revision = 0;
  @property() userName = "";
  /** the reader's own id */
  @property() me = "";
  @property({ type: Boolean }) online = true;

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    const { message, author } = this;
    const kind = message.kind === "note" ? "note" : message.sender;
    return html`<article class="${kind} ${message.state}" aria-label=${message.kind === "note" ? s("noteBy", { name: author }) : author}>
      <p class="by">
        ${message.kind === "note" ? html`${icon("note")}${s("noteLabel")} ·` : nothing}<strong>${author}</strong>
        ${message.state === "streaming" ? html`<span>${s("writing")}</span>` : this.renderTime()}
      </p>
      ${this.renderBody()} ${this.renderAfter()}
    </article>`;
  }

  private get author(): string {
    const { sender, metadata } = this.message;
    if (sender === "user") return this.userName;
    if (sender === "ai") return t("assistant");
    return metadata.admin_id === this.me ? t("you") : metadata.admin_name || t("staff");
  }

  private renderTime(): TemplateResult {
    const { timestamp } = this.message;
    return html`<time datetime=${timestamp} title=${moment(timestamp)}>${clock(timestamp)}</time>`;
  }

  private renderBody(): TemplateResult {
    const { message } = this;
    if (message.kind === "file" || message.kind === "voice") return html`<chatbox-attachment .message=${message}></chatbox-attachment>`;
    if (message.sender !== "ai") return html`<div class="words" dir="auto">${message.content}</div>`;
    return html`<div class="answer">
      <chatbox-markdown dir="auto" .text=${message.content} .generation=${message.generation} .done=${message.state === "done"}></chatbox-markdown>
    </div>`;
  }

  private renderAfter(): TemplateResult | typeof nothing {
    const { state, problem, metadata } = this.message;
    if (state === "sending") return html`<p class="after">${this.online ? t("sending") : t("notSent")}</p>`;
    if (state === "failed") return this.renderFailure(problem);
    const finish = state === "done" ? FINISH[metadata.finish_reason ?? ""] : undefined;
    return finish ? html`<p class="after">${t(finish)}</p>` : nothing;
  }

  private renderFailure(problem: string | null): TemplateResult {
    const button = (label: Key, event: string): TemplateResult =>
      html`<button class="link" @click=${() => this.dispatchEvent(new CustomEvent(event, { detail: this.message, bubbles: true, composed: true }))}>
        ${t(label)}
      </button>`;
    return html`<p class="after" role="alert">
      <span class="bad">${problem === "CONFLICT" ? s("notYours") : problemText(problem)}</span>
      ${button("retry", "retry")} ${button("discard", "discard")}
    </p>`;
  }
}
