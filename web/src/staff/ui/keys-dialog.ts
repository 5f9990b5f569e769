import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, query } from "lit/decorators.js";
import { t } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import { s, type StaffKey } from "../i18n/texts";
import { dialogStyles } from "./dialog-styles";

/** The keys of the dashboard, as they are shown. */
const KEYS: [string, StaffKey][] = [
  ["Alt + Q", "keyNext"],
  ["Alt + T", "keyTakeOver"],
  ["Alt + I", "keyWrite"],
  ["Alt + N", "keyNote"],
  ["Alt + R", "keyCanned"],
  ["Alt + U", "keyDetails"],
  ["Alt + J", "keyTabBefore"],
  ["Alt + K", "keyTabNext"],
  ["Alt + X", "keyClose"],
  ["Alt + L", "keyList"],
  ["Alt + S", "keySearch"],
  ["Alt + M", "keyMute"],
  ["Alt + 1 … 6", "keyViews"],
  ["Alt + H", "keyHelp"],
];

/** What can be done without a mouse. Tells `close`. */
@customElement("chatbox-keys")
export class KeysDialog extends LitElement {
  static override styles = [
    base,
    dialogStyles,
    css`
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        margin: -0.3rem -0.6rem 0.5rem 0;
      }
      dl {
        display: grid;
        grid-template-columns: auto 1fr;
        gap: 0.5rem 1.2rem;
        margin: 0;
        font-size: 0.92rem;
      }
      dd {
        margin: 0;
      }
      kbd {
        padding: 0.1rem 0.5rem;
        border: 1px solid var(--chatbox-line-strong);
        border-radius: 7px;
        background: var(--chatbox-page);
        font: 0.82rem var(--chatbox-font);
        white-space: nowrap;
      }
    `,
  ];

  @query("dialog") private readonly dialog!: HTMLDialogElement;

  protected override firstUpdated(): void {
    this.dialog.showModal();
  }

  protected override render(): TemplateResult {
    return html`<dialog aria-labelledby="heading" @close=${() => this.dispatchEvent(new CustomEvent("close"))}>
      <header>
        <h2 id="heading">${s("keys")}</h2>
        <button class="icon" aria-label=${t("close")} @click=${() => this.dialog.close()}>${icon("close")}</button>
      </header>
      <dl>
        ${KEYS.map(([keys, does]) => html`<dt><kbd>${keys}</kbd></dt><dd>${s(does)}</dd>`)}
      </dl>
    </dialog>`;
  }
}
