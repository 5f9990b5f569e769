import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { locale, Localized } from "../../i18n/locale";
import { base } from "../../ui/styles";
import type { Bucket, Figures } from "../frames";
import { s, type StaffKey } from "../i18n/texts";
import { SPANS, type Period, type Report, type Span } from "../report";
import "./chart";
import type { Curve } from "./chart";
import { staffStyles } from "./staff-styles";
import { trouble } from "./trouble";

const SPAN_NAMES: Record<Span, StaffKey> = { hour: "spanHour", day: "spanDay", week: "spanWeek", month: "spanMonth" };

/** The numbers of a period, and how they went. Tells `period`. */
@customElement("chatbox-metrics")
export class MetricsView extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      .choice {
        display: flex;
        flex-wrap: wrap;
        align-items: end;
        gap: 0.5rem;
      }
      .spans {
        display: inline-flex;
        border: 1px solid var(--chatbox-line);
        border-radius: 10px;
        overflow: hidden;
        background: var(--chatbox-surface);
      }
      .spans button {
        min-height: 2.2rem;
        padding: 0 0.8rem;
        font-size: 0.86rem;
        outline-offset: -3px;
      }
      .spans button + button {
        border-left: 1px solid var(--chatbox-line);
      }
      .spans button[aria-pressed="true"] {
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
        font-weight: 600;
      }
      dl {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
        gap: 0.7rem;
        margin: 0 0 1.2rem;
      }
      dl div {
        display: flex;
        flex-direction: column-reverse;
        justify-content: flex-end;
        padding: 0.75rem 0.95rem;
        border: 1px solid var(--chatbox-line);
        border-radius: var(--chatbox-radius);
        background: var(--chatbox-surface);
      }
      dt {
        font-size: 0.79rem;
        line-height: 1.35;
        color: var(--chatbox-ink-soft);
      }
      dd {
        margin: 0;
        font-size: 1.35rem;
        font-weight: 620;
        letter-spacing: -0.02em;
        line-height: 1.35;
        font-variant-numeric: tabular-nums;
      }
      .charts {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr));
        gap: 0.9rem;
      }
    `,
  ];

  @property({ attribute: false }) report!: Report;
  /** renders again when it changes; the report changes in place */
  @property({ type: Number }) revision = 0;

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    const { value, state, problem } = this.report;
    return html`<div class="page" tabindex="-1">
      <div class="inside" aria-busy=${state === "reading"}>
        <div class="head">
          <h1>${s("metrics")}</h1>
          ${this.renderChoice()}
        </div>
        ${state === "failed"
          ? trouble(problem, () => this.report.show(this.report.period))
          : value
            ? html`${this.renderFigures(value.figures)} ${this.renderCharts(value.series, value.step / 1000)}`
            : html`<p class="message">${s("reading")}</p>`}
      </div>
    </div>`;
  }

  private renderChoice(): TemplateResult {
    const { period } = this.report;
    const chosen = "span" in period ? period.span : null;
    const [from, to] = "from" in period ? [period.from, period.to] : ["", ""];
    return html`<div class="choice">
      <div class="spans" role="group" aria-label=${s("period")}>
        ${(Object.keys(SPANS) as Span[]).map(
          (span) => html`<button aria-pressed=${span === chosen} @click=${() => this.choose({ span })}>${s(SPAN_NAMES[span])}</button>`,
        )}
      </div>
      <label class="field">${s("from")}<input class="from" type="date" .value=${from} @change=${this.onDates} /></label>
      <label class="field">${s("to")}<input class="to" type="date" .value=${to} @change=${this.onDates} /></label>
    </div>`;
  }

  private renderFigures(figures: Figures): TemplateResult {
    const taken = (ms: number): string => (figures.answers > 0 ? time(ms) : "–");
    const tile = (key: StaffKey, value: string): TemplateResult => html`<div><dt>${s(key)}</dt><dd>${value}</dd></div>`;
    return html`<dl>
      ${tile("figSessions", count(figures.total_sessions))} ${tile("figActive", count(figures.active_sessions))}
      ${tile("figAvgConcurrent", count(figures.avg_concurrent))} ${tile("figMaxConcurrent", count(figures.max_concurrent))}
      ${tile("figMessages", count(figures.messages))} ${tile("figAssisted", count(figures.admin_assisted_count))}
      ${tile("figTokens", count(figures.total_tokens))} ${tile("figErrors", count(figures.errors))}
      ${tile("figFirst", taken(figures.avg_first_token))} ${tile("figAvgAnswer", taken(figures.avg_response_time))}
      ${tile("figMaxAnswer", taken(figures.max_response_time))}
    </dl>`;
  }

  private renderCharts(series: Bucket[], step: number): TemplateResult {
    const times = series.map(({ start }) => Date.parse(start) / 1000);
    const of = (label: StaffKey, field: Exclude<keyof Bucket, "start">, bars = false): Curve => ({
      label: s(label),
      values: series.map((bucket) => bucket[field]),
      bars,
    });
    const chart = (heading: StaffKey, format: (value: number) => string, ...curves: Curve[]): TemplateResult =>
      html`<chatbox-chart .heading=${s(heading)} .times=${times} .step=${step} .curves=${curves} .format=${format}></chatbox-chart>`;
    return html`<div class="charts">
      ${chart("chartSessions", count, of("figSessions", "sessions", true))}
      ${chart("chartConcurrent", count, of("chartConcurrent", "max_concurrent"))}
      ${chart("chartMessages", count, of("figMessages", "messages", true))} ${chart("chartTokens", count, of("figTokens", "tokens", true))}
      ${chart("chartTimes", time, of("figAvgAnswer", "avg_response_time"), of("figFirst", "avg_first_token"), of("figMaxAnswer", "max_response_time"))}
      ${chart("chartErrors", count, of("figErrors", "errors", true))}
    </div>`;
  }

  private onDates(): void {
    const value = (name: string): string => this.renderRoot.querySelector<HTMLInputElement>(`.${name}`)!.value;
    const [from, to] = [value("from"), value("to")];
    if (from && to) this.choose(from <= to ? { from, to } : { from: to, to: from });
  }

  private choose(period: Period): void {
    this.dispatchEvent(new CustomEvent("period", { detail: period }));
  }
}

function count(value: number): string {
  return new Intl.NumberFormat(locale.tag, { notation: value >= 100_000 ? "compact" : "standard", maximumFractionDigits: 2 }).format(value);
}

function time(ms: number): string {
  if (ms < 1_000) return s("milliseconds", { value: Math.round(ms) });
  const seconds = new Intl.NumberFormat(locale.tag, { maximumFractionDigits: ms < 10_000 ? 2 : 1 }).format(ms / 1000);
  return s("seconds", { value: seconds });
}
