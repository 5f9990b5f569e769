import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import { base } from "../../ui/styles";
import { s } from "../i18n/texts";
import { dialogStyles } from "./dialog-styles";
import { staffStyles } from "./staff-styles";

export interface Choice {
  label: string;
  kind?: "primary" | "danger";
  act(reason: string): void;
}

/** Asks before something is done. Tells `close` when it is answered or left. */
@customElement("chatbox-question")
export class Question extends LitElement {
  static override styles = [
    base,
    staffStyles,
    dialogStyles,
    css`
      p {
        margin-top: 0.6rem;
        color: var(--chatbox-ink-soft);
        font-size: 0.93rem;
      }
      .field {
        margin-top: 1rem;
      }
    `,
  ];

  @property() heading = "";
  @property() text = "";
  /** what a field for a few words is called; none without it */
  @property() reason = "";
  @property({ attribute: false }) choices: Choice[] = [];
  @query("dialog") private readonly dialog!: HTMLDialogElement;
  @query("input") private readonly field!: HTMLInputElement | null;

  protected override firstUpdated(): void {
    this.dialog.showModal();
  }

  protected override render(): TemplateResult {
    return html`<dialog aria-labelledby="heading" @close=${() => this.dispatchEvent(new CustomEvent("close"))}>
      <h2 id="heading">${this.heading}</h2>
      <p>${this.text}</p>
      ${this.reason ? html`<label class="field">${this.reason}<input maxlength="500" /></label>` : nothing}
      <div class="buttons">
        <button class="button small" @click=${() => this.dialog.close()}>${s("cancel")}</button>
        ${this.choices.map((choice) => html`<button class="button small ${choice.kind ?? ""}" @click=${() => this.take(choice)}>${choice.label}</button>`)}
      </div>
    </dialog>`;
  }

  private take(choice: Choice): void {
    choice.act(this.field?.value.trim() ?? "");
    this.dialog.close();
  }
}
