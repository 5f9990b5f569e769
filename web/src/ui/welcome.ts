import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import { Localized, t, type Key } from "../i18n/locale";
import { base } from "./styles";

const SUGGESTIONS: Key[] = ["suggestion1", "suggestion2", "suggestion3"];

/** What an empty conversation shows. Tells `say` with a suggested question. */
@customElement("chatbox-welcome")
export class Welcome extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: grid;
        align-content: safe center;
        justify-items: center;
        padding: 2rem 1.5rem;
        overflow-y: auto;
        text-align: center;
      }
      h2 {
        font-size: clamp(1.5rem, 1.2rem + 1.6vw, 2.1rem);
        font-weight: 650;
        letter-spacing: -0.022em;
        line-height: 1.2;
        text-wrap: balance;
      }
      p {
        max-width: 31rem;
        margin-top: 0.8rem;
        color: var(--chatbox-ink-soft);
        text-wrap: pretty;
      }
      ul {
        display: flex;
        flex-wrap: wrap;
        justify-content: center;
        gap: 0.6rem;
        max-width: 42rem;
        margin-top: 2rem;
        list-style: none;
      }
      ul button {
        min-height: 2.6rem;
        padding: 0.5rem 1.05rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 1.3rem;
        background: var(--chatbox-surface);
        font-size: 0.92rem;
        line-height: 1.35;
        transition: border-color 0.15s, background 0.15s;
      }
      ul button:hover {
        border-color: var(--chatbox-accent);
        background: var(--chatbox-tint);
      }
    `,
  ];

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    return html`<h2>${t("greeting")}</h2>
      <p>${t("greetingText")}</p>
      <ul aria-label=${t("suggestions")}>
        ${SUGGESTIONS.map((key) => html`<li><button @click=${() => this.say(t(key))}>${t(key)}</button></li>`)}
      </ul>`;
  }

  private say(text: string): void {
    this.dispatchEvent(new CustomEvent("say", { detail: text }));
  }
}
