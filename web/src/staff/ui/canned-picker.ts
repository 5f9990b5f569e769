import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { Canned, Reply } from "../canned";
import { s } from "../i18n/texts";
import { staffStyles } from "./staff-styles";

/** Chooses one of the prepared replies, by words of its title or text. Tells `choose`. */
@customElement("chatbox-canned-picker")
export class CannedPicker extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      @container (max-width: 40rem) {
        .opener span {
          display: none;
        }
      }
      [popover] {
        position: fixed;
        inset: auto;
        width: min(25rem, calc(100vw - 1rem));
        max-height: min(26rem, 60vh);
        margin: 0;
        padding: 0.5rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 14px;
        background: var(--chatbox-raised);
        color: var(--chatbox-ink);
        box-shadow: var(--chatbox-shadow);
      }
      [popover]:popover-open {
        display: flex;
        flex-direction: column;
      }
      ul {
        overflow-y: auto;
        margin-top: 0.4rem;
        list-style: none;
      }
      li {
        padding: 0.45rem 0.65rem;
        border-radius: 9px;
        cursor: pointer;
        line-height: 1.4;
      }
      li[aria-selected="true"] {
        background: var(--chatbox-hover);
      }
      .title {
        font-weight: 600;
        font-size: 0.88rem;
      }
      .text {
        display: -webkit-box;
        overflow: hidden;
        -webkit-line-clamp: 2;
        -webkit-box-orient: vertical;
        font-size: 0.82rem;
        color: var(--chatbox-ink-soft);
      }
      .none {
        padding: 0.8rem;
        font-size: 0.87rem;
        color: var(--chatbox-ink-soft);
      }
    `,
  ];

  @property({ attribute: false }) canned!: Canned;
  /** renders again when it changes; the replies change in place */
  @property({ type: Number }) revision = 0;
  @state() private words = "";
  @state() private at = 0;
  @query("[popover]") private readonly list!: HTMLElement;
  @query(".opener") private readonly opener!: HTMLElement;
  @query("input") private readonly field!: HTMLInputElement;

  constructor() {
    super();
    new Localized(this);
  }

  show(): void {
    this.canned.want();
    [this.words, this.at] = ["", 0];
    this.list.showPopover();
    const [from, { width, height }] = [this.opener.getBoundingClientRect(), this.list.getBoundingClientRect()];
    this.list.style.left = `${Math.max(8, Math.min(from.right - width, innerWidth - width - 8))}px`;
    this.list.style.top = `${Math.max(8, from.top - height - 6)}px`;
    this.field.focus();
  }

  protected override render(): TemplateResult {
    const { found } = this;
    return html`<button class="button small opener" aria-haspopup="listbox" aria-label=${s("canned")} title=${s("canned")} @click=${this.show}>
        ${icon("quote")} <span>${s("canned")}</span>
      </button>
      <div popover @toggle=${this.onToggle}>
        <div class="field">
          <input
            type="search"
            role="combobox"
            aria-expanded="true"
            aria-controls="replies"
            aria-activedescendant=${found.length > 0 ? `reply-${this.at}` : nothing}
            aria-label=${s("cannedSearch")}
            placeholder=${s("cannedSearch")}
            .value=${this.words}
            @input=${this.onInput}
            @keydown=${this.onKey}
          />
        </div>
        <ul id="replies" role="listbox" aria-label=${s("canned")}>
          ${found.map((reply, index) => this.renderReply(reply, index))}
        </ul>
        ${found.length === 0 ? html`<p class="none">${this.canned.state === "failed" ? s("notRead") : this.words ? s("cannedNotFound") : s("cannedNone")}</p>` : nothing}
      </div>`;
  }

  private get found(): Reply[] {
    return this.canned.find(this.words);
  }

  private renderReply(reply: Reply, index: number): TemplateResult {
    return html`<li id="reply-${index}" role="option" aria-selected=${index === this.at} @pointermove=${() => (this.at = index)} @click=${() => this.choose(reply)}>
      <div class="title">${reply.title}</div>
      <div class="text">${reply.text}</div>
    </li>`;
  }

  private onInput(): void {
    [this.words, this.at] = [this.field.value, 0];
  }

  private onKey(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const { found } = this;
    const moves: Record<string, number> = { ArrowDown: this.at + 1, ArrowUp: this.at - 1 };
    const to = moves[event.key];
    if (to !== undefined && found.length > 0) this.at = (to + found.length) % found.length;
    const chosen = event.key === "Enter" ? found[this.at] : undefined;
    if (chosen) this.choose(chosen);
    if (to === undefined && event.key !== "Enter") return;
    event.preventDefault();
    void this.updateComplete.then(() => this.renderRoot.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }));
  }

  private onToggle(event: ToggleEvent): void {
    if (event.newState === "closed" && this.renderRoot instanceof ShadowRoot && this.list.contains(this.renderRoot.activeElement)) this.opener.focus();
  }

  private choose(reply: Reply): void {
    this.list.hidePopover();
    this.dispatchEvent(new CustomEvent("choose", { detail: reply }));
  }
}
