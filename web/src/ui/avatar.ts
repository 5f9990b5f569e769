import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { base } from "./styles";

/** A person's initial in a disc: a sign beside their name, which says who it is. */
@customElement("chatbox-avatar")
export class Avatar extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: inline-grid;
        flex: none;
        place-items: center;
        width: 1.6rem;
        height: 1.6rem;
        border-radius: 50%;
        background: var(--chatbox-warm);
        color: var(--chatbox-on-warm);
        font-size: 0.85rem;
        font-weight: 650;
        line-height: 1;
      }
    `,
  ];

  @property() name = "";

  protected override render(): TemplateResult {
    return html`<span aria-hidden="true">${[...this.name.trim()][0]?.toUpperCase() ?? "?"}</span>`;
  }
}
