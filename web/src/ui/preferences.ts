import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { LANGUAGES, locale, Localized, t, type Key, type Language } from "../i18n/locale";
import { base } from "./styles";
import { THEMES, type Appearance, type Theme } from "./theme";

const NAMES: Record<Theme, Key> = { auto: "themeAuto", light: "themeLight", dark: "themeDark" };

/** Appearance and language. */
@customElement("chatbox-preferences")
export class Preferences extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: flex;
        flex-wrap: wrap;
        gap: 0.45rem;
        padding: 0.6rem 0.85rem calc(0.7rem + env(safe-area-inset-bottom));
        border-top: 1px solid var(--chatbox-line);
      }
      .who {
        flex: 0 0 100%;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
        font-size: 0.82rem;
        color: var(--chatbox-ink-soft);
      }
      select {
        flex: 1;
        min-width: 0;
        height: 2.1rem;
        font-size: 0.8rem;
      }
    `,
  ];

  @property({ attribute: false }) appearance!: Appearance;
  @property() userName = "";

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    const { theme } = this.appearance;
    return html`<span class="who" title=${this.userName}>${this.userName}</span>
      <select aria-label=${t("theme")} @change=${this.onTheme}>
        ${THEMES.map((name) => html`<option value=${name} ?selected=${name === theme}>${t(NAMES[name])}</option>`)}
      </select>
      <select aria-label=${t("language")} @change=${this.onLanguage}>
        ${Object.entries(LANGUAGES).map(([id, name]) => html`<option value=${id} ?selected=${id === locale.language}>${name}</option>`)}
      </select>`;
  }

  private onTheme(event: Event): void {
    this.appearance.use((event.target as HTMLSelectElement).value as Theme);
    this.requestUpdate();
  }

  private onLanguage(event: Event): void {
    locale.use((event.target as HTMLSelectElement).value as Language);
  }
}
