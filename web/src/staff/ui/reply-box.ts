import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import "../../ui/composer";
import type { Composer } from "../../ui/composer";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { Canned, Reply } from "../canned";
import type { Conversation } from "../conversation";
import { s } from "../i18n/texts";
import "./canned-picker";
import "./draft-card";
import type { CannedPicker } from "./canned-picker";
import { staffStyles } from "./staff-styles";

type Mode = "reply" | "note";

/** Where staff write: to the user, while they have the conversation, or a note for colleagues. Each has a draft of its
 *  own, so that no note is sent by mistake. Tells `written`. */
@customElement("chatbox-reply-box")
export class ReplyBox extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: block;
        padding: 0.35rem 0.75rem calc(0.2rem + env(safe-area-inset-bottom));
        border-top: 1px solid var(--chatbox-line);
      }
      .modes {
        display: flex;
        align-items: center;
        gap: 0.25rem;
        min-height: 2.3rem;
        margin-bottom: 0.35rem;
      }
      .mode {
        display: inline-flex;
        align-items: center;
        gap: 0.35rem;
        min-height: 2rem;
        padding: 0 0.7rem;
        border-radius: 9px;
        font-size: 0.85rem;
        font-weight: 550;
        white-space: nowrap;
        color: var(--chatbox-ink-soft);
      }
      .mode svg {
        width: 1rem;
        height: 1rem;
      }
      .mode:hover {
        background: var(--chatbox-hover);
      }
      .mode[aria-pressed="true"] {
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
      }
      .mode.note[aria-pressed="true"] {
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
      }
      .space {
        flex: 1;
      }
      @container (max-width: 40rem) {
        .suggest span {
          display: none;
        }
      }
      .note-field {
        --chatbox-composer: var(--chatbox-warm-tint);
      }
      .closed {
        display: flex;
        align-items: center;
        justify-content: space-between;
        gap: 0.5rem;
        min-height: 3.4rem;
        margin-bottom: 1.5rem;
        padding: 0.45rem 0.5rem 0.45rem 1rem;
        border: 1px dashed var(--chatbox-line-strong);
        border-radius: 20px;
        font-size: 0.9rem;
        line-height: 1.4;
        color: var(--chatbox-ink-soft);
      }
      .closed span {
        min-width: 0;
        overflow-wrap: anywhere;
      }
      .closed .button {
        flex: none;
        border-radius: 14px;
      }
    `,
  ];

  @property({ attribute: false }) conversation!: Conversation;
  @property({ attribute: false }) canned!: Canned;
  /** renders again when it changes; the conversation changes in place */
  @property({ type: Number }) revision = 0;
  @property({ type: Boolean }) online = true;
  @state() private mode: Mode = "reply";
  @query(".reply-field") private readonly replyField!: Composer;
  @query(".note-field") private readonly noteField!: Composer;
  @query("chatbox-canned-picker") private readonly picker!: CannedPicker | null;

  constructor() {
    super();
    new Localized(this);
  }

  override focus(): void {
    this.write(this.mode);
  }

  write(mode: Mode): void {
    this.mode = mode;
    void this.updateComplete.then(() => {
      if (mode === "note") this.noteField.focus();
      else if (this.conversation.held) this.replyField.focus();
      else this.renderRoot.querySelector<HTMLElement>(".closed button")?.focus();
    });
  }

  pick(): void {
    if (!this.conversation.held) return;
    this.mode = "reply";
    void this.updateComplete.then(() => this.picker?.show());
  }

  /** A note that was being written is shown at once, unless a reply was as well. */
  protected override willUpdate(): void {
    const { held, unfinished } = this.conversation;
    const noted = unfinished.note.text !== "" && !(held && unfinished.reply.text !== "");
    if (!this.hasUpdated && noted) this.mode = "note";
  }

  protected override render(): TemplateResult {
    const { conversation, mode } = this;
    const replying = mode === "reply";
    return html`<div class="modes" role="group" aria-label=${s("writeWhat")}>
        ${this.renderMode("reply", "chats", s("reply"))} ${this.renderMode("note", "note", s("note"))}
        <span class="space"></span>
        ${replying && conversation.held ? this.renderTools() : nothing}
      </div>
      ${replying && conversation.held ? this.renderSuggestion() : nothing}
      ${replying && !conversation.held ? this.renderClosed() : nothing}
      <chatbox-composer
        class="reply-field"
        ?hidden=${!replying || !conversation.held}
        .unfinished=${conversation.unfinished.reply}
        .label=${s("replyLabel")}
        .placeholder=${s("replyPlaceholder", { name: this.userName })}
        @say=${(event: CustomEvent<string>) => this.send("reply", event.detail)}
        @typed=${() => conversation.typed()}
      ></chatbox-composer>
      <chatbox-composer
        class="note-field"
        ?hidden=${replying}
        ?disabled=${conversation.deleted}
        .unfinished=${conversation.unfinished.note}
        .label=${s("noteFieldLabel")}
        .placeholder=${s("notePlaceholder")}
        @say=${(event: CustomEvent<string>) => this.send("note", event.detail)}
      ></chatbox-composer>`;
  }

  private get userName(): string {
    const { session } = this.conversation;
    return session?.user_name || session?.user_id || s("user");
  }

  private renderMode(mode: Mode, sign: "chats" | "note", label: string): TemplateResult {
    return html`<button class="mode ${mode}" aria-pressed=${this.mode === mode} @click=${() => this.write(mode)}>${icon(sign)} ${label}</button>`;
  }

  private renderTools(): TemplateResult {
    const suggest = (): void => this.conversation.assistance.ask("suggestion");
    return html`<button class="button small suggest" aria-label=${s("suggest")} title=${s("suggest")} ?disabled=${!this.online} @click=${suggest}>
        ${icon("spark")} <span>${s("suggest")}</span>
      </button>
      <chatbox-canned-picker .canned=${this.canned} .revision=${this.revision} @choose=${this.insert}></chatbox-canned-picker>`;
  }

  private renderSuggestion(): TemplateResult | typeof nothing {
    const { assistance } = this.conversation;
    const { suggestion } = assistance;
    if (!suggestion) return nothing;
    const use = (): void => {
      this.replyField.insert(suggestion.text);
      assistance.drop("suggestion");
    };
    return html`<chatbox-draft
      .draft=${suggestion}
      .heading=${s("suggestion")}
      .use=${s("draftUse")}
      @use=${use}
      @again=${() => assistance.ask("suggestion")}
      @drop=${() => assistance.drop("suggestion")}
    ></chatbox-draft>`;
  }

  private renderClosed(): TemplateResult {
    const { conversation } = this;
    if (conversation.deleted) return html`<div class="closed">${s("deleted")}</div>`;
    const { holder } = conversation;
    return html`<div class="closed">
      <span>${holder ? s("heldBy", { name: holder.name }) : s("takeOverToWrite", { name: this.userName })}</span>
      ${holder
        ? nothing
        : html`<button class="button primary small" ?disabled=${conversation.moving || !this.online} @click=${() => conversation.takeOver()}>
            ${icon("hand")} ${conversation.moving ? s("takingOver") : s("takeOver")}
          </button>`}
    </div>`;
  }

  private send(mode: Mode, text: string): void {
    if (mode === "note") this.conversation.note(text);
    else this.conversation.say(text);
    this.dispatchEvent(new CustomEvent("written"));
  }

  private insert({ detail }: CustomEvent<Reply>): void {
    const { session } = this.conversation;
    this.replyField.insert(this.canned.filled(detail, session?.user_name || ""));
  }
}
