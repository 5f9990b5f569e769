import { html, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { alertText } from "../alert-text";
import type { Alert } from "../api";
import { s } from "../i18n/texts";
import { passed, RecordsView, type Column } from "./records-view";

/** Alerts that could not be delivered to everyone, and another try. */
@customElement("chatbox-alerts")
export class AlertsView extends RecordsView<Alert> {
  /** tries an alert again */
  @property({ attribute: false }) retry!: (id: string) => Promise<void>;
  @state() private said = "";
  protected readonly heading = "alerts";
  protected readonly none = ["check", "alertsNone"] as const;
  protected readonly columns: Column<Alert>[] = [
    { title: "time", kind: "when", cell: ({ time }) => passed(time) },
    { title: "alert", cell: ({ event, id }) => html`${alertText(event)}<div class="detail">${id}</div>` },
    { title: "reason", cell: reason },
    { title: "tries", kind: "number", cell: ({ attempts }) => attempts },
    { title: "action", silent: true, cell: (alert) => this.renderActions(alert) },
  ];

  protected override renderAbout(): TemplateResult {
    return html`<p class="about">${s("alertsAbout")}</p>
      <p role="status">${this.said}</p>`;
  }

  private renderActions({ id, session_id }: Alert): TemplateResult {
    return html`<button class="link" @click=${() => this.again(id)}>${s("retry")}</button> ${this.renderOpener(session_id)}`;
  }

  private async again(id: string): Promise<void> {
    this.said = await this.retry(id).then(
      () => s("alertRetried"),
      () => s("actionFailed"),
    );
    await this.records.show();
  }
}

function reason({ error, refused }: Alert): TemplateResult {
  return html`${error}
  ${Object.entries(refused).map(
    ([channel, addresses]) => html`<div class="detail">${s("refusedBy", { channel, count: Object.keys(addresses).length })}</div>`,
  )}`;
}
