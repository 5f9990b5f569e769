import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { ago, moment } from "../../i18n/times";
import { base } from "../../ui/styles";
import type { Takeover } from "../api";
import { s } from "../i18n/texts";
import { timer } from "../lasting";
import type { Records } from "../records";
import { staffStyles } from "./staff-styles";
import { nothingHere, trouble } from "./trouble";

/** Who had which conversation, from when to when. Tells `open` with the id of a session. */
@customElement("chatbox-takeovers")
export class TakeoversView extends LitElement {
  static override styles = [base, staffStyles];

  @property({ attribute: false }) records!: Records<Takeover>;
  /** renders again when it changes; the records change in place */
  @property({ type: Number }) revision = 0;

  constructor() {
    super();
    new Localized(this);
  }

  protected override firstUpdated(): void {
    void this.records.show();
  }

  protected override render(): TemplateResult {
    return html`<div class="page" tabindex="-1">
      <div class="inside">
        <div class="head">
          <h1>${s("takeovers")}</h1>
          <button class="button small" @click=${() => this.records.show()}>${s("refresh")}</button>
        </div>
        ${this.renderList()}
      </div>
    </div>`;
  }

  private renderList(): TemplateResult {
    const { state, items, hasMore, problem } = this.records;
    if (state === "failed") return trouble(problem, () => void this.records.show());
    if (state === "reading") return html`<p class="message">${s("reading")}</p>`;
    if (items.length === 0) return nothingHere("hand", s("takeoversNone"));
    return html`<div class="table" role="region" aria-label=${s("takeovers")} tabindex="0">
        <table>
          <thead>
            <tr>
              <th>${s("begin")}</th>
              <th>${s("lasted")}</th>
              <th>${s("staffMember")}</th>
              <th>${s("user")}</th>
              <th class="number">${s("staffMessages")}</th>
              <th><span class="hidden">${s("conversation")}</span></th>
            </tr>
          </thead>
          <tbody>
            ${items.map((takeover) => this.renderRow(takeover))}
          </tbody>
        </table>
      </div>
      ${hasMore ? html`<button class="button small more" @click=${() => this.records.readMore()}>${s("more")}</button>` : nothing}`;
  }

  private renderRow({ start, end, admin_name, user_id, messages, session_id }: Takeover): TemplateResult {
    const seconds = (Date.parse(end ?? new Date().toISOString()) - Date.parse(start)) / 1000;
    return html`<tr>
      <td class="when"><time datetime=${start} title=${moment(start)}>${ago(start)}</time></td>
      <td class="when">${end ? timer(seconds) : html`<span class="chip staff">${s("goesOn")}</span>`}</td>
      <td>${admin_name}</td>
      <td>${user_id}</td>
      <td class="number">${messages}</td>
      <td>
        <button class="link" @click=${() => this.dispatchEvent(new CustomEvent("open", { detail: session_id }))}>${s("show")}</button>
      </td>
    </tr>`;
  }
}
