import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { base } from "../../ui/styles";
import type { Assistance, Draft } from "../assistance";
import type { Canned } from "../canned";
import type { Conversation } from "../conversation";
import type { Desk } from "../desk";
import { s } from "../i18n/texts";
import "./customer";
import type { Customer } from "./customer";
import "./draft-card";
import "./pane-header";
import type { PaneHeader } from "./pane-header";
import "./pane-messages";
import type { PaneMessages } from "./pane-messages";
import "./reply-box";
import type { ReplyBox } from "./reply-box";

/** One open conversation. Tells `back`, `close`, `block` and `open` with the id of another session. */
@customElement("chatbox-pane")
export class Pane extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        container-type: inline-size;
        display: block;
        min-width: 0;
        min-height: 0;
        height: 100%;
        background: var(--chatbox-page);
      }
      section {
        position: relative;
        display: flex;
        height: 100%;
        min-height: 0;
      }
      .talk {
        display: flex;
        flex: 1;
        flex-direction: column;
        min-width: 0;
        min-height: 0;
      }
      chatbox-pane-messages {
        flex: 1;
        min-height: 0;
      }
      chatbox-draft {
        margin: 0 0.75rem;
      }
      chatbox-customer {
        flex: none;
        width: 18rem;
        border-left: 1px solid var(--chatbox-line);
      }
      @container (max-width: 46rem) {
        chatbox-customer {
          position: absolute;
          inset: 0 0 0 auto;
          z-index: 3;
          width: min(100%, 21rem);
          box-shadow: var(--chatbox-shadow);
        }
      }
    `,
  ];

  @property({ attribute: false }) conversation!: Conversation;
  @property({ attribute: false }) desk!: Desk;
  @property({ attribute: false }) canned!: Canned;
  /** renders again when it changes; the conversation changes in place */
  @property({ type: Number }) revision = 0;
  @property({ type: Boolean }) narrow = false;
  /** not rendered while it is out of sight */
  @property({ type: Boolean }) shown = true;
  @state() private details = false;
  @query("chatbox-pane-header") private readonly header!: PaneHeader;
  @query("chatbox-pane-messages") private readonly messages!: PaneMessages;
  @query("chatbox-reply-box") private readonly box!: ReplyBox;
  @query("chatbox-customer") private readonly customer!: Customer | null;

  constructor() {
    super();
    new Localized(this);
  }

  /** Where the reader goes on: writing, or reading while somebody else has it. */
  override focus(): void {
    void this.updateComplete.then(() => (this.conversation.held ? this.box : this.messages).focus());
  }

  write(): void {
    this.box?.focus();
  }

  note(): void {
    this.box?.write("note");
  }

  pick(): void {
    this.box?.pick();
  }

  toggleDetails(): void {
    this.details = !this.details;
    void this.updateComplete.then(() => (this.details ? this.customer?.focus() : this.header.focus()));
  }

  protected override shouldUpdate(changed: PropertyValues<this>): boolean {
    return this.shown || changed.has("shown");
  }

  protected override render(): TemplateResult {
    const { conversation, desk, revision, narrow } = this;
    const online = desk.link.is === "open";
    const { session } = conversation;
    return html`<section aria-label=${s("conversationWith", { name: session?.user_name || session?.user_id || conversation.id })}>
      <div class="talk">
        <chatbox-pane-header
          .conversation=${conversation}
          .others=${desk.others}
          .revision=${revision}
          ?narrow=${narrow}
          ?online=${online}
          ?details=${this.details}
          @back=${this.pass}
          @close=${this.pass}
          @details=${this.toggleDetails}
        ></chatbox-pane-header>
        ${conversation.assistance.summary ? this.renderSummary(conversation.assistance, conversation.assistance.summary) : nothing}
        <chatbox-pane-messages .conversation=${conversation} .revision=${revision} .me=${desk.me.id} .online=${online}></chatbox-pane-messages>
        <chatbox-reply-box
          .conversation=${conversation}
          .canned=${this.canned}
          .revision=${revision}
          .online=${online}
          @written=${() => this.messages.toEnd()}
        ></chatbox-reply-box>
      </div>
      ${this.details && session
        ? html`<chatbox-customer
            .session=${session}
            .read=${(userId: string) => desk.sessionsOf(userId)}
            @close=${this.toggleDetails}
            @open=${this.pass}
            @block=${this.pass}
            @keydown=${this.onDetailsKey}
          ></chatbox-customer>`
        : nothing}
    </section>`;
  }

  private renderSummary(assistance: Assistance, summary: Draft): TemplateResult {
    return html`<chatbox-draft
      .draft=${summary}
      .heading=${s("summary")}
      @again=${() => assistance.ask("summary")}
      @drop=${() => assistance.drop("summary")}
    ></chatbox-draft>`;
  }

  private onDetailsKey(event: KeyboardEvent): void {
    if (event.key === "Escape") this.toggleDetails();
  }

  private pass(event: Event): void {
    this.dispatchEvent(new CustomEvent(event.type, { detail: (event as CustomEvent).detail }));
  }
}
