import { html, LitElement, nothing, type TemplateResult } from "lit";
import { property } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { ago, moment } from "../../i18n/times";
import type { Icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import { s, type StaffKey } from "../i18n/texts";
import type { Records } from "../records";
import { staffStyles } from "./staff-styles";
import { nothingHere, trouble, troubleText } from "./trouble";

/** A column of a table of records. */
export interface Column<T> {
  title: StaffKey;
  kind?: "when" | "number";
  /** its title is only for those who hear it */
  silent?: true;
  cell(record: T): unknown;
}

/** A page with records of one kind, newest first. Tells `open` with the id of a session. */
export abstract class RecordsView<T> extends LitElement {
  static override styles = [base, staffStyles];

  @property({ attribute: false }) records!: Records<T>;
  /** renders again when it changes; the records change in place */
  @property({ type: Number }) revision = 0;
  protected abstract readonly heading: StaffKey;
  protected abstract readonly columns: Column<T>[];
  /** what is shown where there are none */
  protected abstract readonly none: readonly [Icon, StaffKey];

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
          <h1>${s(this.heading)}</h1>
          <div class="tools">
            ${this.renderTools()}
            <button class="button small" @click=${() => this.records.show()}>${s("refresh")}</button>
          </div>
        </div>
        ${this.renderAbout()} ${this.renderList()}
      </div>
    </div>`;
  }

  /** What else can be done with all of them. */
  protected renderTools(): TemplateResult | typeof nothing {
    return nothing;
  }

  protected renderAbout(): TemplateResult | typeof nothing {
    return nothing;
  }

  protected renderOpener(sessionId: string): TemplateResult | typeof nothing {
    if (!sessionId) return nothing;
    const open = (): boolean => this.dispatchEvent(new CustomEvent("open", { detail: sessionId }));
    return html`<button class="link" @click=${open}>${s("show")}</button>`;
  }

  private renderList(): TemplateResult {
    const { state, items, problem } = this.records;
    if (state === "failed") return trouble(problem, () => void this.records.show());
    if (state === "reading") return html`<p class="message">${s("reading")}</p>`;
    const [sign, text] = this.none;
    return html`${renderProblem(problem)} ${items.length > 0 ? this.renderTable(items) : nothingHere(sign, s(text))} ${this.renderMore()}`;
  }

  private renderMore(): TemplateResult | typeof nothing {
    const { hasMore, missed } = this.records;
    if (!hasMore) return nothing;
    return html`<div class="more">
      ${renderProblem(missed)}
      <button class="button small" @click=${() => this.records.readMore()}>${s("more")}</button>
    </div>`;
  }

  private renderTable(items: T[]): TemplateResult {
    const title = ({ title: key, silent }: Column<T>): unknown => (silent ? html`<span class="hidden">${s(key)}</span>` : s(key));
    return html`<div class="table" role="region" aria-label=${s(this.heading)} tabindex="0">
      <table>
        <thead>
          <tr>
            ${this.columns.map((column) => html`<th class=${column.kind ?? ""}>${title(column)}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${items.map((item) => html`<tr>${this.columns.map(({ kind, cell }) => html`<td class=${kind ?? ""}>${cell(item)}</td>`)}</tr>`)}
        </tbody>
      </table>
    </div>`;
  }
}

function renderProblem(problem: string | null): TemplateResult | typeof nothing {
  return problem === null ? nothing : html`<p class="trouble" role="alert">${troubleText(problem)}</p>`;
}

/** How long ago something was. */
export function passed(time: string): TemplateResult {
  return html`<time datetime=${time} title=${moment(time)}>${ago(time)}</time>`;
}
