import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { ago, moment } from "../../i18n/times";
import { base } from "../../ui/styles";
import type { Alert } from "../api";
import { alertText } from "../alert-text";
import { s } from "../i18n/texts";
import type { Records } from "../records";
import { staffStyles } from "./staff-styles";
import { nothingHere, trouble } from "./trouble";

/** Alerts that could not be delivered to everyone, and another try. Tells `open` with the id of a session. */
@customElement("chatbox-alerts")
export class AlertsView extends LitElement {
  static override styles = [base, staffStyles];

  @property({ attribute: false }) records!: Records<Alert>;
  /** tries an alert again */
  @property({ attribute: false }) retry!: (id: string) => Promise<void>;
  /** renders again when it changes; the records change in place */
  @property({ type: Number }) revision = 0;
  @state() private said = "";

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
          <h1>${s("alerts")}</h1>
          <button class="button small" @click=${() => this.records.show()}>${s("refresh")}</button>
        </div>
        <p class="about">${s("alertsAbout")}</p>
        <p role="status">${this.said}</p>
        ${this.renderList()}
      </div>
    </div>`;
  }

  private renderList(): TemplateResult {
    const { state: now, items, hasMore, problem } = this.records;
    if (now === "failed") return trouble(problem, () => void this.records.show());
    if (now === "reading") return html`<p class="message">${s("reading")}</p>`;
    if (items.length === 0) return nothingHere("check", s("alertsNone"));
    return html`<div class="table" role="region" aria-label=${s("alerts")} tabindex="0">
        <table>
          <thead>
            <tr>
              <th>${s("time")}</th>
              <th>${s("alert")}</th>
              <th>${s("reason")}</th>
              <th class="number">${s("tries")}</th>
              <th><span class="hidden">${s("action")}</span></th>
            </tr>
          </thead>
          <tbody>
            ${items.map((alert) => this.renderRow(alert))}
          </tbody>
        </table>
      </div>
      ${hasMore ? html`<button class="button small more" @click=${() => this.records.readMore()}>${s("more")}</button>` : nothing}`;
  }

  private renderRow(alert: Alert): TemplateResult {
    return html`<tr>
      <td class="when"><time datetime=${alert.time} title=${moment(alert.time)}>${ago(alert.time)}</time></td>
      <td>
        ${alertText(alert.event)}
        <div class="detail">${alert.id}</div>
      </td>
      <td>
        ${alert.error}
        ${Object.entries(alert.refused).map(
          ([channel, addresses]) => html`<div class="detail">${s("refusedBy", { channel, count: Object.keys(addresses).length })}</div>`,
        )}
      </td>
      <td class="number">${alert.attempts}</td>
      <td>
        <button class="link" @click=${() => this.again(alert)}>${s("retry")}</button>
        ${alert.session_id
          ? html`<button class="link" @click=${() => this.dispatchEvent(new CustomEvent("open", { detail: alert.session_id }))}>${s("show")}</button>`
          : nothing}
      </td>
    </tr>`;
  }

  private async again({ id }: Alert): Promise<void> {
    this.said = await this.retry(id).then(
      () => s("alertRetried"),
      () => s("actionFailed"),
    );
    await this.records.show();
  }
}
