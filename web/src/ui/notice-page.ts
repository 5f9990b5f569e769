import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { icon, type Icon } from "./icons";
import { base } from "./styles";

/** A whole page that says one thing. */
@customElement("chatbox-notice")
export class NoticePage extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: grid;
        place-content: safe center;
        height: 100%;
        padding: 2rem 1.5rem;
        overflow-y: auto;
      }
      main {
        display: grid;
        justify-items: center;
        text-align: center;
      }
      .sign {
        display: grid;
        place-items: center;
        width: 3.5rem;
        height: 3.5rem;
        margin-bottom: 1.3rem;
        border-radius: 17px;
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
      }
      .sign svg {
        width: 1.6rem;
        height: 1.6rem;
      }
      h1 {
        font-size: 1.5rem;
        font-weight: 650;
        letter-spacing: -0.02em;
        line-height: 1.25;
        max-width: 30rem;
        text-wrap: balance;
      }
      p {
        max-width: 29rem;
        margin-top: 0.75rem;
        color: var(--chatbox-ink-soft);
        text-wrap: pretty;
      }
      .note {
        font-size: 0.88rem;
      }
      ::slotted(*) {
        margin-top: 1.5rem;
      }
    `,
  ];

  @property() icon: Icon = "lock";
  @property() heading = "";
  @property() text = "";
  @property() note = "";

  protected override render(): TemplateResult {
    return html`<main>
      <div class="sign">${icon(this.icon)}</div>
      <h1>${this.heading}</h1>
      <p>${this.text}</p>
      ${this.note ? html`<p class="note">${this.note}</p>` : nothing}
      <slot></slot>
    </main>`;
  }
}
