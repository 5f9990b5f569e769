import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import { Localized, t } from "../i18n/locale";
import { base } from "./styles";

const SETTINGS = `LLM_PROVIDER_1_TYPE=openai
LLM_PROVIDER_1_ENDPOINT=https://…/v1
LLM_PROVIDER_1_API_KEY=…
LLM_PROVIDER_1_MODEL=…`;

/** Says plainly that a tiny model answers, and how to plug in a real one. */
@customElement("chatbox-demo")
export class DemoBanner extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
        font-size: 0.83rem;
        line-height: 1.45;
      }
      details {
        max-width: var(--chatbox-measure);
        margin: 0 auto;
        padding: 0.45rem 1.25rem;
      }
      summary {
        display: flex;
        flex-wrap: wrap;
        gap: 0 0.5rem;
        cursor: pointer;
        list-style: none;
        border-radius: 6px;
      }
      summary::-webkit-details-marker {
        display: none;
      }
      strong {
        font-weight: 600;
      }
      .how {
        text-decoration: underline;
        text-underline-offset: 0.18em;
        font-weight: 600;
      }
      .inside {
        padding: 0.6rem 0 0.4rem;
      }
      pre {
        margin: 0.5rem 0;
        padding: 0.7rem 0.9rem;
        overflow-x: auto;
        border-radius: 10px;
        background: var(--chatbox-surface);
        color: var(--chatbox-ink);
        font: 0.79rem/1.6 var(--chatbox-font-code);
      }
    `,
  ];

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    return html`<details>
      <summary><strong>${t("demoTitle")}</strong> <span>${t("demoText")}</span> <span class="how">${t("demoMore")}</span></summary>
      <div class="inside">
        <p>${t("demoSettings")}</p>
        <pre tabindex="0">${SETTINGS}</pre>
        <p>${t("demoRestart")}</p>
      </div>
    </details>`;
  }
}
