import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import { t } from "../i18n/locale";
import { base } from "./styles";

/** A name that is being changed in place. Tells `rename` with the new one, or `leave`. */
@customElement("chatbox-name-field")
export class NameField extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      input {
        width: 100%;
        height: 2.2rem;
        padding: 0 0.6rem;
        border: 1px solid var(--chatbox-accent);
        border-radius: 8px;
        background: var(--chatbox-surface);
        font-weight: 550;
        outline-offset: 0;
      }
    `,
  ];

  @property() name = "";
  @query("input") private readonly input!: HTMLInputElement;
  private left = false;

  protected override render(): TemplateResult {
    return html`<input
      maxlength="200"
      aria-label=${t("nameLabel")}
      .value=${this.name}
      @blur=${() => this.finish(true)}
      @keydown=${this.onKey}
    />`;
  }

  protected override firstUpdated(): void {
    this.input.focus();
    this.input.select();
  }

  private onKey(event: KeyboardEvent): void {
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Enter") this.finish(true);
    if (event.key === "Escape") this.finish(false);
  }

  private finish(save: boolean): void {
    if (this.left) return;
    this.left = true;
    const name = this.input.value.trim();
    const changed = save && name !== "" && name !== this.name;
    this.dispatchEvent(changed ? new CustomEvent("rename", { detail: name }) : new CustomEvent("leave"));
  }
}
