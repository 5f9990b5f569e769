import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { ApiError, type Api } from "../api";
import { fromStored, type Message } from "../chat/message";
import { Localized, t } from "../i18n/locale";
import { day, dayKey } from "../i18n/times";
import { mark } from "./icons";
import "./message";
import { messagesStyles } from "./messages-styles";
import "./notice-page";
import { sideStyles } from "./side-styles";
import { base } from "./styles";

/** A conversation that somebody shares, for anyone who has the link. */
@customElement("chatbox-shared")
export class SharedView extends LitElement {
  static override styles = [
    base,
    sideStyles,
    messagesStyles,
    css`
      :host {
        display: grid;
        grid-template-rows: auto minmax(0, 1fr);
        height: 100%;
        background: var(--chatbox-page);
      }
      .head {
        gap: 1rem;
        border-bottom: 1px solid var(--chatbox-line);
        padding: 0 1.25rem;
      }
      .head p {
        font-size: 0.82rem;
        color: var(--chatbox-ink-soft);
      }
      h1 {
        padding: 1.2rem 0 0.3rem;
        font-size: clamp(1.35rem, 1.1rem + 1.2vw, 1.8rem);
        font-weight: 650;
        letter-spacing: -0.02em;
        line-height: 1.25;
        overflow-wrap: anywhere;
        text-wrap: balance;
      }
      .day {
        text-align: left;
      }
    `,
  ];

  @property({ attribute: false }) api!: Api;
  @property() token = "";
  @state() private name = "";
  @state() private messages: Message[] | null = null;
  @state() private failure: "missing" | "unreachable" | null = null;

  constructor() {
    super();
    new Localized(this);
  }

  protected override firstUpdated(): void {
    void this.read();
  }

  protected override render(): TemplateResult {
    return html`<header class="head"><span class="brand">${mark} ${t("appName")}</span><p>${t("sharedBadge")}</p></header>
      ${this.failure ? this.renderFailure() : this.messages ? this.renderMessages(this.messages) : nothing}`;
  }

  private renderMessages(messages: Message[]): TemplateResult {
    return html`<main class="scroller" tabindex="0" aria-label=${t("messages")}>
      <div class="content">
        <h1 dir="auto">${this.name || t("untitled")}</h1>
        ${messages.length === 0 ? html`<p>${t("sharedEmpty")}</p>` : nothing}
        ${messages.map(
          (message, index) => html`${dayKey(messages[index - 1]?.timestamp ?? "") === dayKey(message.timestamp)
              ? nothing
              : html`<p class="day">${day(message.timestamp)}</p>`}
            <chatbox-message .message=${message}></chatbox-message>`,
        )}
      </div>
    </main>`;
  }

  private renderFailure(): TemplateResult {
    return this.failure === "missing"
      ? html`<chatbox-notice icon="file" heading=${t("sharedMissingTitle")} text=${t("sharedMissingText")}></chatbox-notice>`
      : html`<chatbox-notice icon="cloud" heading=${t("unreachableTitle")} text=${t("errorOther")}>
          <button class="button" @click=${this.read}>${t("retry")}</button>
        </chatbox-notice>`;
  }

  private async read(): Promise<void> {
    this.failure = null;
    try {
      const shared = await this.api.shared(this.token);
      this.name = shared.name;
      this.messages = shared.messages.map(fromStored);
      document.title = shared.name || t("untitled");
    } catch (error) {
      this.failure = error instanceof ApiError && error.status === 404 ? "missing" : "unreachable";
    }
  }
}
