import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { ago, moment } from "../../i18n/times";
import { download } from "../../ui/browser";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { Act } from "../api";
import { actionText } from "../action-text";
import { s } from "../i18n/texts";
import type { Records } from "../records";
import { staffStyles } from "./staff-styles";
import { nothingHere, trouble } from "./trouble";

/** What staff did. Tells `open` with the id of a session. */
@customElement("chatbox-audit")
export class AuditView extends LitElement {
  static override styles = [base, staffStyles];

  @property({ attribute: false }) records!: Records<Act>;
  /** reads the whole log as a file */
  @property({ attribute: false }) export!: () => Promise<Blob>;
  /** renders again when it changes; the records change in place */
  @property({ type: Number }) revision = 0;
  @property({ type: Boolean }) admin = false;
  @state() private failed = false;

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
          <h1>${s("audit")}</h1>
          ${this.admin
            ? html`<button class="button small" @click=${this.save}>${icon("download")} ${s("export")}</button>`
            : nothing}
          <button class="button small" @click=${() => this.records.show()}>${s("refresh")}</button>
        </div>
        ${this.failed ? html`<p class="trouble" role="alert">${s("actionFailed")}</p>` : nothing} ${this.renderList()}
      </div>
    </div>`;
  }

  private renderList(): TemplateResult {
    const { state: now, items, hasMore, problem } = this.records;
    if (now === "failed") return trouble(problem, () => void this.records.show());
    if (now === "reading") return html`<p class="message">${s("reading")}</p>`;
    if (items.length === 0) return nothingHere("audit", s("auditNone"));
    return html`<div class="table" role="region" aria-label=${s("audit")} tabindex="0">
        <table>
          <thead>
            <tr>
              <th>${s("time")}</th>
              <th>${s("staffMember")}</th>
              <th>${s("action")}</th>
              <th><span class="hidden">${s("conversation")}</span></th>
            </tr>
          </thead>
          <tbody>
            ${items.map((act) => this.renderRow(act))}
          </tbody>
        </table>
      </div>
      ${hasMore ? html`<button class="button small more" @click=${() => this.records.readMore()}>${s("more")}</button>` : nothing}`;
  }

  private renderRow(act: Act): TemplateResult {
    const user = act.user_id ? [[s("user"), act.user_id]] : [];
    const detail = [...user, ...Object.entries(act.detail)].filter(([, value]) => value !== "");
    return html`<tr>
      <td class="when"><time datetime=${act.time} title=${moment(act.time)}>${ago(act.time)}</time></td>
      <td>${act.admin_name || act.admin_id}</td>
      <td>
        ${actionText(act.action)} ${act.refused ? html`<span class="chip help">${s("refused")}</span>` : nothing}
        ${detail.length > 0 ? html`<div class="detail">${detail.map(([key, value]) => `${key}: ${value}`).join(" · ")}</div>` : nothing}
      </td>
      <td>
        ${act.session_id
          ? html`<button class="link" @click=${() => this.dispatchEvent(new CustomEvent("open", { detail: act.session_id }))}>${s("show")}</button>`
          : nothing}
      </td>
    </tr>`;
  }

  private async save(): Promise<void> {
    const file = await this.export().catch(() => null);
    this.failed = file === null;
    if (file) download(file, "audit.jsonl");
  }
}
