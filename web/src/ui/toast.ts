import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Localized } from "../i18n/locale";
import { icon } from "./icons";
import { t } from "../i18n/locale";
import { base } from "./styles";

/** A short notice at the bottom, with at most one thing to do about it. Tells `act` and `close`. */
@customElement("chatbox-toast")
export class Toast extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        position: fixed;
        inset: auto 1rem calc(6.4rem + env(safe-area-inset-bottom));
        z-index: 20;
        display: flex;
        justify-content: center;
        pointer-events: none;
      }
      .toast {
        display: flex;
        align-items: center;
        gap: 0.9rem;
        max-width: 30rem;
        padding: 0.45rem 0.5rem 0.45rem 1.1rem;
        border-radius: 13px;
        background: light-dark(#1d2321, #e9edeb);
        color: light-dark(#f3f5f4, #1d2321);
        box-shadow: var(--chatbox-shadow);
        font-size: 0.9rem;
        pointer-events: auto;
        animation: rise 0.2s both;
      }
      .words {
        overflow: hidden;
        text-overflow: ellipsis;
        display: -webkit-box;
        -webkit-line-clamp: 2;
        -webkit-box-orient: vertical;
        overflow-wrap: anywhere;
      }
      .act {
        min-height: 2.2rem;
        padding: 0 0.6rem;
        border-radius: 8px;
        font-weight: 650;
        color: light-dark(#86dac6, #0b5145);
      }
      .icon {
        width: 2.2rem;
        height: 2.2rem;
        color: inherit;
      }
      .icon:hover:not(:disabled) {
        background: none;
        color: inherit;
      }
      @keyframes rise {
        from {
          opacity: 0;
          transform: translateY(8px);
        }
      }
    `,
  ];

  @property() text = "";
  @property() action = "";

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    return html`<div role="status">${this.text ? this.renderToast() : nothing}</div>`;
  }

  private renderToast(): TemplateResult {
    const tell = (type: string) => () => this.dispatchEvent(new CustomEvent(type));
    return html`<div class="toast">
      <span class="words">${this.text}</span>
      ${this.action
        ? html`<button class="act" @click=${tell("act")}>${this.action}</button>`
        : html`<button class="icon" aria-label=${t("close")} @click=${tell("close")}>${icon("close")}</button>`}
    </div>`;
  }
}
