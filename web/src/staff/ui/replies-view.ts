import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import { NAME, type Canned, type Reply } from "../canned";
import { s } from "../i18n/texts";
import { removing } from "./askings";
import { staffStyles } from "./staff-styles";
import { nothingHere, trouble } from "./trouble";

const LONGEST_TITLE = 100;
const LONGEST_TEXT = 10_000;

/** The prepared replies: read, written, removed. Tells `ask` with what is asked before. */
@customElement("chatbox-replies")
export class RepliesView extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      ul {
        display: grid;
        gap: 0.7rem;
        list-style: none;
      }
      li,
      form {
        padding: 0.85rem 1rem;
        border: 1px solid var(--chatbox-line);
        border-radius: var(--chatbox-radius);
        background: var(--chatbox-surface);
      }
      li {
        display: flex;
        gap: 0.5rem;
      }
      .reply {
        flex: 1;
        min-width: 0;
      }
      h2 {
        font-size: 0.95rem;
        font-weight: 600;
        line-height: 1.4;
      }
      .text {
        color: var(--chatbox-ink-soft);
        font-size: 0.9rem;
        line-height: 1.5;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
      }
      form {
        display: grid;
        gap: 0.8rem;
        margin-bottom: 1rem;
      }
      .buttons {
        display: flex;
        justify-content: flex-end;
        gap: 0.6rem;
      }
    `,
  ];

  @property({ attribute: false }) canned!: Canned;
  /** renders again when it changes; the replies change in place */
  @property({ type: Number }) revision = 0;
  /** the reply that is written; "new" for one more */
  @state() private editing: Reply | "new" | null = null;
  @state() private failed = false;
  @query("input") private readonly titleField!: HTMLInputElement;
  @query("textarea") private readonly text!: HTMLTextAreaElement;

  constructor() {
    super();
    new Localized(this);
  }

  protected override firstUpdated(): void {
    this.canned.want();
  }

  protected override render(): TemplateResult {
    return html`<div class="page" tabindex="-1">
      <div class="inside">
        <div class="head">
          <h1>${s("replies")}</h1>
          <button class="button small primary" ?disabled=${this.editing === "new"} @click=${() => this.edit("new")}>${icon("plus")} ${s("replyNew")}</button>
        </div>
        <p class="about">${s("repliesAbout", { place: NAME })}</p>
        ${this.failed ? html`<p class="trouble" role="alert">${s("actionFailed")}</p>` : nothing}
        ${this.editing === "new" ? this.renderForm(null) : nothing} ${this.renderList()}
      </div>
    </div>`;
  }

  private renderList(): TemplateResult | typeof nothing {
    const { state: now, all, problem } = this.canned;
    if (now === "failed") return trouble(problem, () => this.canned.want());
    if (now === "reading") return html`<p class="message">${s("reading")}</p>`;
    if (all.length === 0) return this.editing ? nothing : nothingHere("quote", s("cannedNone"));
    return html`<ul>
      ${all.map((reply) => (this.editing === reply ? html`${this.renderForm(reply)}` : this.renderReply(reply)))}
    </ul>`;
  }

  private renderReply(reply: Reply): TemplateResult {
    const button = (sign: "edit" | "trash", label: string, act: () => void): TemplateResult =>
      html`<button class="icon" aria-label=${label} title=${label} @click=${act}>${icon(sign)}</button>`;
    return html`<li>
      <div class="reply">
        <h2 dir="auto">${reply.title}</h2>
        <p class="text" dir="auto">${reply.text}</p>
      </div>
      ${button("edit", s("editNamed", { name: reply.title }), () => this.edit(reply))}
      ${button("trash", s("removeNamed", { name: reply.title }), () => this.ask(reply))}
    </li>`;
  }

  private renderForm(reply: Reply | null): TemplateResult {
    return html`<form @submit=${(event: Event) => this.save(event, reply)} @keydown=${this.onKey}>
      <label class="field">${s("replyTitle")}<input required maxlength=${LONGEST_TITLE} .value=${reply?.title ?? ""} /></label>
      <label class="field">${s("replyText")}<textarea required rows="4" maxlength=${LONGEST_TEXT} .value=${reply?.text ?? ""}></textarea></label>
      <div class="buttons">
        <button class="button small" type="button" @click=${() => (this.editing = null)}>${s("cancel")}</button>
        <button class="button small primary" type="submit">${s("save")}</button>
      </div>
    </form>`;
  }

  private edit(reply: Reply | "new"): void {
    this.editing = reply;
    void this.updateComplete.then(() => this.titleField.focus());
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key === "Escape") this.editing = null;
  }

  private async save(event: Event, reply: Reply | null): Promise<void> {
    event.preventDefault();
    const [title, text] = [this.titleField.value.trim(), this.text.value.trim()];
    if (title === "" || text === "") return;
    if (await this.attempt(this.canned.save(reply?.id ?? null, title, text))) this.editing = null;
  }

  private ask({ id, title }: Reply): void {
    const asking = removing(title, () => void this.removeReply(id));
    this.dispatchEvent(new CustomEvent("ask", { detail: asking }));
  }

  private async removeReply(id: string): Promise<void> {
    await this.attempt(this.canned.remove(id));
    this.renderRoot.querySelector<HTMLElement>(".page")!.focus();
  }

  private async attempt(action: Promise<void>): Promise<boolean> {
    this.failed = await action.then(() => false, () => true);
    return !this.failed;
  }
}
