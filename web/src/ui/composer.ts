import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { live } from "lit/directives/live.js";
import type { Unfinished } from "../chat/unfinished";
import { Localized, t } from "../i18n/locale";
import { icon } from "./icons";
import { base } from "./styles";

/** The server's limit, in characters as it counts them: code points. */
const LIMIT = 10_000;
const NEAR = 9_000;
const TALLEST = 220;

/** Where a message is written. Tells `say` with the text, `stop` and `typed`. */
@customElement("chatbox-composer")
export class Composer extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      form {
        display: flex;
        align-items: flex-end;
        gap: 0.35rem;
        padding: 0.4rem;
        border: 1px solid var(--chatbox-line-strong);
        border-radius: 20px;
        background: var(--chatbox-composer, var(--chatbox-surface));
        box-shadow: var(--chatbox-shadow);
        transition: border-color 0.15s;
      }
      form:focus-within {
        border-color: var(--chatbox-accent);
        outline: 1px solid var(--chatbox-accent);
      }
      textarea {
        flex: 1;
        min-width: 0;
        height: 2.6rem;
        padding: 0.52rem 0.5rem 0.52rem 0.8rem;
        border: 0;
        outline: 0;
        resize: none;
        background: none;
        font-size: max(1rem, 16px);
        line-height: 1.5;
      }
      textarea:focus-visible {
        outline: 0;
      }
      textarea::placeholder {
        color: var(--chatbox-ink-soft);
        opacity: 1;
      }
      .round {
        display: grid;
        place-items: center;
        width: 2.6rem;
        height: 2.6rem;
        border-radius: 14px;
        flex: none;
        transition: background 0.15s, opacity 0.15s;
      }
      .send {
        background: var(--chatbox-accent);
        color: var(--chatbox-on-accent);
      }
      .send:hover:not(:disabled) {
        background: var(--chatbox-accent-strong);
      }
      .send:disabled {
        background: var(--chatbox-hover);
        color: var(--chatbox-ink-soft);
        opacity: 1;
      }
      .stop {
        background: var(--chatbox-ink);
        color: var(--chatbox-page);
      }
      .under {
        display: flex;
        justify-content: space-between;
        gap: 1rem;
        height: 1.5rem;
        padding: 0.3rem 0.9rem 0;
        font-size: 0.75rem;
        line-height: 1.2rem;
        color: var(--chatbox-ink-soft);
        white-space: nowrap;
        overflow: hidden;
      }
      .over {
        color: var(--chatbox-bad);
        font-weight: 600;
      }
      @media (hover: none) {
        .hint {
          visibility: hidden;
        }
      }
    `,
  ];

  @property({ type: Boolean }) answering = false;
  @property({ type: Boolean }) disabled = false;
  @property() partner = "";
  /** what the field is called, and what it says while it is empty, where that is not a message to the partner */
  @property() label = "";
  @property() placeholder = "";
  /** keeps what is being written */
  @property({ attribute: false }) unfinished!: Unfinished;
  @state() private text = "";
  @query("textarea") private readonly area!: HTMLTextAreaElement;
  private readonly sizes = new ResizeObserver(() => requestAnimationFrame(() => this.fit()));

  constructor() {
    super();
    new Localized(this);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.sizes.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.sizes.disconnect();
  }

  override focus(): void {
    this.area?.focus();
  }

  /** Put a text where the cursor is. */
  insert(text: string): void {
    const { selectionStart, selectionEnd } = this.area;
    this.area.setRangeText(text, selectionStart, selectionEnd, "end");
    this.onInput();
    this.focus();
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has("unfinished")) this.text = this.unfinished.text;
  }

  protected override render(): TemplateResult {
    const length = this.length;
    const sendable = length > 0 && length <= LIMIT && !this.disabled;
    return html`<form @submit=${this.submit}>
        <textarea
          rows="1"
          dir="auto"
          enterkeyhint="send"
          aria-label=${this.label || t("inputLabel")}
          placeholder=${this.placeholder || (this.partner ? t("placeholderStaff", { name: this.partner }) : t("placeholder"))}
          .value=${live(this.text)}
          ?disabled=${this.disabled}
          @input=${this.onInput}
          @keydown=${this.onKey}
        ></textarea>
        ${this.answering ? this.renderStop() : nothing}
        ${this.answering && length === 0
          ? nothing
          : html`<button class="round send" type="submit" aria-label=${t("send")} title=${t("send")} ?disabled=${!sendable}>
              ${icon("send")}
            </button>`}
      </form>
      <div class="under">
        <span class="hint">${t("inputHint")}</span>
        ${length > NEAR
          ? html`<span class=${length > LIMIT ? "over" : ""} role="status">${t("tooLong", { count: length, max: LIMIT })}</span>`
          : nothing}
      </div>`;
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has("text")) this.fit();
  }

  /** As high as its text, which takes more lines where it is narrower. */
  private fit(): void {
    const { style } = this.area;
    style.height = "";
    const { scrollHeight } = this.area;
    if (this.text !== "" && scrollHeight > 0) style.height = `${Math.min(scrollHeight, TALLEST)}px`;
  }

  private get length(): number {
    const text = this.text.trim();
    return text.length <= NEAR ? text.length : [...text].length;
  }

  private renderStop(): TemplateResult {
    return html`<button class="round stop" type="button" aria-label=${t("stop")} title=${t("stop")} @click=${() => this.tell("stop")}>
      ${icon("stop")}
    </button>`;
  }

  private onInput(): void {
    this.text = this.unfinished.text = this.area.value;
    if (this.text.trim()) this.tell("typed");
  }

  private onKey(event: KeyboardEvent): void {
    // An Enter that chooses among an input method's candidates belongs to it (229 is what Safari says then).
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.submit();
  }

  private submit(event?: Event): void {
    event?.preventDefault();
    const text = this.text.trim();
    if (text === "" || this.length > LIMIT || this.disabled) return;
    this.text = this.unfinished.text = "";
    this.area.value = "";
    this.tell("say", text);
  }

  private tell(type: string, detail?: string): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
