import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import type { Session } from "../api";
import type { Chat } from "../chat/chat";
import { departure, waitingCall } from "../chat/call";
import type { Message } from "../chat/message";
import { Localized, t } from "../i18n/locale";
import "./chat-header";
import type { ChatHeader } from "./chat-header";
import "./composer";
import type { Composer } from "./composer";
import "./demo";
import "./help-line";
import type { HelpLine } from "./help-line";
import "./link-line";
import "./messages";
import type { MessagesView } from "./messages";
import { keyboardComesUp, keyboardIsFree } from "./browser";
import { base } from "./styles";
import "./welcome";

/** One conversation: header, messages, and where to write. Tells what its header and its connection line tell. */
@customElement("chatbox-chat")
export class ChatView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-width: 0;
        height: 100%;
      }
      .middle {
        position: relative;
        display: grid;
        flex: 1;
        min-height: 0;
      }
      .middle > * {
        grid-area: 1 / 1;
        min-height: 0;
        min-width: 0;
      }
      .write {
        width: 100%;
        max-width: calc(var(--chatbox-measure) + 1rem);
        margin: 0 auto;
        padding: 0 0.75rem calc(0.35rem + env(safe-area-inset-bottom));
      }
    `,
  ];

  @property({ attribute: false }) chat!: Chat;
  @property({ attribute: false }) session: Session | undefined;
  /** renders again when it changes; the chat changes in place */
  @property({ type: Number }) revision = 0;
  @property({ type: Boolean }) narrow = false;
  @property({ type: Boolean }) demo = false;
  @property({ type: Boolean }) editing = false;
  @query("chatbox-composer") private readonly composer!: Composer | null;
  @query("chatbox-header") private readonly header!: ChatHeader;
  @query("chatbox-help-line") private readonly helpLine!: HelpLine;
  @query("chatbox-messages") private readonly messages!: MessagesView | null;

  constructor() {
    super();
    new Localized(this);
  }

  override focus(): void {
    this.composer?.focus();
  }

  focusHeader(): void {
    this.header.focus();
  }

  /** Go on with the conversation: write, where no keyboard comes up over it. */
  goOn(): void {
    if (keyboardComesUp(window)) this.focusHeader();
    else this.focus();
  }

  /** What is typed at once goes to the conversation, unless the reader has gone elsewhere. */
  async offerFocus(): Promise<void> {
    await this.composer?.updateComplete;
    if (keyboardIsFree(window)) this.focus();
  }

  protected override firstUpdated(): void {
    void this.offerFocus();
  }

  /** What somebody was about to use is gone when staff have come: they are written to instead. */
  protected override willUpdate(): void {
    const inHelp = this.shadowRoot?.activeElement?.localName === "chatbox-help-line";
    if (inHelp && this.chat.facts.staffName !== null) void this.updateComplete.then(() => this.composer?.focus());
  }

  protected override render(): TemplateResult {
    const { chat, revision } = this;
    const { staffName } = chat.facts;
    return html`<chatbox-header
        .chat=${chat}
        .session=${this.session}
        .revision=${revision}
        ?narrow=${this.narrow}
        ?editing=${this.editing}
        @list=${this.pass}
        @new=${this.pass}
        @rename=${this.pass}
        @help=${this.askForHelp}
      ></chatbox-header>
      ${this.demo ? html`<chatbox-demo></chatbox-demo>` : nothing}
      <div class="middle">
        <chatbox-link-line .link=${chat.link} @reconnect=${() => chat.reconnect()} @new=${this.pass}></chatbox-link-line>
        ${this.renderMiddle()}
      </div>
      <div class="write">
        ${this.renderHelp()}
        <chatbox-composer
          ?answering=${chat.answering}
          ?disabled=${chat.link.is === "stopped"}
          .unfinished=${chat.unfinished}
          .partner=${staffName === null ? "" : staffName || t("staff")}
          @say=${(event: CustomEvent<string>) => this.say(event.detail)}
          @stop=${() => chat.stop()}
          @typed=${() => chat.typed()}
        ></chatbox-composer>
      </div>`;
  }

  private renderMiddle(): TemplateResult | typeof nothing {
    const { chat } = this;
    const empty = chat.log.messages.length === 0 && chat.log.expected === null;
    if (empty && chat.reading === "read") return html`<chatbox-welcome @say=${this.begin}></chatbox-welcome>`;
    return html`<chatbox-messages
      .chat=${chat}
      .revision=${this.revision}
      @regenerate=${() => chat.regenerate()}
      @retry=${(event: CustomEvent<Message>) => chat.retry(event.detail)}
      @discard=${(event: CustomEvent<Message>) => chat.discard(event.detail)}
    ></chatbox-messages>`;
  }

  private renderHelp(): TemplateResult {
    const { help, facts, log } = this.chat;
    const alone = facts.staffName === null;
    return html`<chatbox-help-line
      .help=${alone ? help : "joined"}
      .call=${waitingCall(log.messages)}
      .email=${facts.email}
      ?back=${alone && departure(log.messages) !== null}
      @withdraw=${this.cancelHelp}
      @address=${(event: CustomEvent<string>) => this.chat.askForHelp(event.detail)}
    ></chatbox-help-line>`;
  }

  /** What was pressed disappears: the keyboard goes on where the call is shown. */
  private async askForHelp(): Promise<void> {
    this.chat.askForHelp();
    await this.settled();
    if (this.chat.help !== "none") this.helpLine.focus();
  }

  private async cancelHelp(): Promise<void> {
    this.chat.cancelHelp();
    await this.settled();
    if (this.chat.help === "none") this.header.focusHelp();
  }

  private async settled(): Promise<void> {
    this.requestUpdate();
    this.header.requestUpdate();
    await this.updateComplete;
    await Promise.all([this.helpLine.updateComplete, this.header.updateComplete]);
  }

  private begin({ detail }: CustomEvent<string>): void {
    this.chat.say(detail);
    this.goOn();
  }

  private say(text: string): void {
    this.chat.say(text);
    this.messages?.toEnd();
    this.composer?.focus();
  }

  private pass(event: Event): void {
    this.dispatchEvent(new CustomEvent(event.type, { detail: (event as CustomEvent).detail }));
  }
}
