import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import type { Call } from "../chat/call";
import type { HelpState } from "../chat/facts";
import { Localized, t } from "../i18n/locale";
import { when } from "../i18n/times";
import { icon } from "./icons";
import { base } from "./styles";

const MINUTE = 60_000;
const ADDRESS = /^[^\s@,;<>"]+@[^\s@,;<>"]+$/;

/** Says how a call for help stands, and takes an address where staff are not there; says when the assistant has the word
 *  again. Nothing is shown otherwise. Tells `withdraw`, and `address` with one. */
@customElement("chatbox-help-line")
export class HelpLine extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: block;
      }
      .line {
        display: grid;
        gap: 0.3rem;
        margin-bottom: 0.5rem;
        padding: 0.5rem 0.6rem 0.5rem 0.85rem;
        border-radius: var(--chatbox-radius);
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
        font-size: 0.87rem;
        line-height: 1.45;
      }
      .line.back {
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
      }
      .row {
        display: flex;
        align-items: center;
        gap: 0.65rem;
      }
      .row svg {
        width: 1.1rem;
        height: 1.1rem;
      }
      .words {
        flex: 1;
        min-width: 0;
        font-weight: 550;
        overflow-wrap: anywhere;
      }
      .link {
        min-height: 2rem;
        padding: 0 0.4rem;
        color: inherit;
      }
      form {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.4rem;
      }
      label,
      .bad {
        flex: 1 0 100%;
      }
      .bad {
        color: var(--chatbox-bad);
      }
      input {
        flex: 1 1 13rem;
        min-width: 0;
        height: 2.5rem;
        padding: 0 0.8rem;
        border: 1px solid var(--chatbox-line-strong);
        border-radius: 10px;
        background: var(--chatbox-surface);
        color: var(--chatbox-ink);
        font-size: max(0.925rem, 16px);
      }
      .button {
        color: var(--chatbox-ink);
      }
    `,
  ];

  @property() help: HelpState = "none";
  @property({ attribute: false }) call: Call = { toldAt: null, closed: false, opensAt: null };
  @property() email: string | null = null;
  /** staff have left, and nothing was said since */
  @property({ type: Boolean }) back = false;
  @state() private changing = false;
  @state() private bad = false;
  @query("input") private readonly field!: HTMLInputElement | null;
  private ticking: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super();
    new Localized(this);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.ticking = setInterval(() => this.requestUpdate(), MINUTE);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.ticking);
  }

  override focus(): void {
    this.renderRoot.querySelector<HTMLElement>("button")?.focus();
  }

  private get waiting(): boolean {
    return this.help === "asked" || this.help === "told";
  }

  private get closed(): boolean {
    const { closed, opensAt } = this.call;
    return closed && !(opensAt && Date.parse(opensAt) <= Date.now());
  }

  protected override render(): TemplateResult {
    const shown = this.waiting ? this.status : this.back ? t("assistantBack") : "";
    return html`<div class=${shown ? `line ${this.waiting ? "" : "back"}` : ""}>
      <div class="row">
        ${shown ? icon(this.waiting ? "help" : "check") : nothing}
        <span class="words" role="status">${shown}</span>
        ${this.waiting ? this.renderWithdraw() : nothing}
      </div>
      ${this.waiting && this.closed ? this.renderAddress() : nothing}
    </div>`;
  }

  private get status(): string {
    const { toldAt, opensAt } = this.call;
    const told = toldAt ? t("eventHelpTold", { when: when(toldAt) }) : t("eventHelpToldSometime");
    const hours = opensAt ? t("helpClosedUntil", { when: when(opensAt) }) : t("helpClosed");
    return `${this.help === "told" ? told : t("helpAsked")} ${this.closed ? hours : this.help === "told" ? t("helpSoon") : ""}`.trim();
  }

  private renderWithdraw(): TemplateResult {
    return html`<button class="link" aria-label=${t("helpCancel")} @click=${() => this.tell("withdraw")}>${t("helpCancelShort")}</button>`;
  }

  private renderAddress(): TemplateResult {
    return this.email && !this.changing ? this.renderLeft(this.email) : this.renderForm();
  }

  private renderLeft(email: string): TemplateResult {
    return html`<div class="row">
      <span class="words">${t("helpEmailLeft", { email })}</span>
      <button class="link" aria-label=${t("helpEmailChangeLong")} @click=${this.change}>${t("helpEmailChange")}</button>
    </div>`;
  }

  private renderForm(): TemplateResult {
    return html`<form novalidate @submit=${this.submit}>
      <label for="address">${t("helpEmail")}</label>
      <input
        id="address"
        type="email"
        autocomplete="email"
        maxlength="254"
        .value=${this.email ?? ""}
        aria-invalid=${this.bad}
        aria-describedby=${this.bad ? "bad" : nothing}
        @input=${() => (this.bad = false)}
      />
      <button class="button" type="submit">${t("helpEmailSend")}</button>
      ${this.bad ? html`<span class="bad" id="bad" role="alert">${t("helpEmailBad")}</span>` : nothing}
    </form>`;
  }

  private change(): void {
    this.changing = true;
    void this.updateComplete.then(() => this.field?.focus());
  }

  private submit(event: Event): void {
    event.preventDefault();
    const address = this.field?.value.trim() ?? "";
    this.bad = !ADDRESS.test(address);
    if (this.bad) return this.field?.focus();
    this.changing = false;
    this.tell("address", address);
  }

  private tell(type: string, detail?: string): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
