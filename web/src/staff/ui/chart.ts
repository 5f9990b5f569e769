import { css, html, LitElement, unsafeCSS, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query } from "lit/decorators.js";
import uPlot from "uplot";
import plotStyles from "uplot/dist/uPlot.min.css?inline";
import { locale, Localized } from "../../i18n/locale";
import { base } from "../../ui/styles";
import { s } from "../i18n/texts";

const HEIGHT = 180;
/** Half a conversation, or half a millisecond, is nothing to read off. */
const WHOLE_STEPS = [...Array(13).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));
const PAINTS = ["--chatbox-accent", "--chatbox-warm", "--chatbox-bad"] as const;

/** One line or row of bars of a chart. */
export interface Curve {
  label: string;
  values: number[];
  bars?: boolean;
}

/** Numbers over time, as a picture and as a table. */
@customElement("chatbox-chart")
export class Chart extends LitElement {
  static override styles = [
    base,
    unsafeCSS(plotStyles),
    css`
      :host {
        display: block;
        min-width: 0;
        padding: 0.9rem 1rem 0.7rem;
        border: 1px solid var(--chatbox-line);
        border-radius: var(--chatbox-radius);
        background: var(--chatbox-surface);
      }
      h2 {
        font-size: 0.92rem;
        font-weight: 600;
        line-height: 1.4;
      }
      .plot {
        min-height: 11.25rem;
        margin-top: 0.3rem;
        overflow: hidden;
      }
      .uplot {
        font-family: var(--chatbox-font);
      }
      .u-legend {
        text-align: left;
        font-size: 0.78rem;
        color: var(--chatbox-ink-soft);
      }
      .u-legend.u-inline .u-series {
        margin-right: 1rem;
      }
      .u-legend .u-series > * {
        padding: 0.1rem 0;
      }
      .u-legend th {
        font-weight: 500;
      }
      .u-legend .u-value {
        font-variant-numeric: tabular-nums;
      }
      details {
        font-size: 0.8rem;
        color: var(--chatbox-ink-soft);
      }
      summary {
        display: inline-block;
        padding: 0.25rem 0;
        cursor: pointer;
        border-radius: 6px;
        text-decoration: underline;
        text-underline-offset: 0.18em;
      }
      .numbers {
        max-height: 15rem;
        overflow: auto;
      }
      table.plain {
        width: 100%;
        border-collapse: collapse;
        font-variant-numeric: tabular-nums;
      }
      .plain th,
      .plain td {
        padding: 0.2rem 0.6rem 0.2rem 0;
        text-align: right;
        font-weight: 400;
      }
      .plain th:first-child {
        text-align: left;
        white-space: nowrap;
      }
    `,
  ];

  @property() heading = "";
  /** when each step begins, Unix s */
  @property({ attribute: false }) times: number[] = [];
  /** s */
  @property({ type: Number }) step = 0;
  @property({ attribute: false }) curves: Curve[] = [];
  /** writes a value */
  @property({ attribute: false }) format: (value: number) => string = String;
  @query(".plot") private readonly target!: HTMLElement;
  private plot: uPlot | null = null;
  private readonly sizes = new ResizeObserver(() => this.plot?.setSize({ width: this.target.clientWidth, height: HEIGHT }));
  private readonly scheme = matchMedia("(prefers-color-scheme: dark)");
  private readonly theme = new MutationObserver(() => this.draw());

  constructor() {
    super();
    new Localized(this);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.scheme.addEventListener("change", this.draw);
    this.theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "lang"] });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.scheme.removeEventListener("change", this.draw);
    this.theme.disconnect();
    this.sizes.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  protected override render(): TemplateResult {
    return html`<h2>${this.heading}</h2>
      <div class="plot" aria-hidden="true"></div>
      <details>
        <summary>${s("asTable")}</summary>
        <div class="numbers" role="region" aria-label=${this.heading} tabindex="0">
          <table class="plain">
            <thead>
              <tr>
                <th scope="col">${s("time")}</th>
                ${this.curves.map(({ label }) => html`<th scope="col">${label}</th>`)}
              </tr>
            </thead>
            <tbody>
              ${this.times.map(
                (time, index) => html`<tr>
                  <th scope="row">${moment(time)}</th>
                  ${this.curves.map(({ values }) => html`<td>${this.format(values[index] ?? 0)}</td>`)}
                </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </details>`;
  }

  protected override updated(changed: PropertyValues<this>): void {
    const { plot } = this;
    if (plot && !changed.has("heading") && sameCurves(changed.get("curves"), this.curves)) plot.setData(this.data);
    else this.draw();
  }

  private get data(): uPlot.AlignedData {
    const end = (this.times.at(-1) ?? 0) + this.step;
    return [[...this.times, end], ...this.curves.map(({ values, bars }) => [...values, bars ? null : (values.at(-1) ?? null)])];
  }

  private readonly draw = (): void => {
    this.plot?.destroy();
    this.plot = new uPlot(this.options(), this.data, this.target);
    this.sizes.observe(this.target);
  };

  private options(): uPlot.Options {
    const [ink, line] = [this.paint("--chatbox-ink-soft"), this.paint("--chatbox-line")];
    const font = `11px ${getComputedStyle(this).fontFamily}`;
    const axis: uPlot.Axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    return {
      width: this.target.clientWidth,
      height: HEIGHT,
      cursor: { y: false, points: { size: 7 }, drag: { setScale: false, x: false, y: false } },
      scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, size: 32, space: 72, values: (_plot, splits, _axis, _space, step) => splits.map((at) => label(at, step)) },
        { ...axis, size: 58, incrs: WHOLE_STEPS, values: (_plot, splits) => splits.map((value) => this.format(value)) },
      ],
      series: [{ value: (_plot, at) => (at === null ? "–" : moment(at)), label: s("time") }, ...this.curves.map((curve, index) => this.series(curve, index))],
    };
  }

  private series({ label: name, bars }: Curve, index: number): uPlot.Series {
    const stroke = this.paint(PAINTS[index % PAINTS.length]!);
    return {
      label: name,
      stroke,
      width: 1.6,
      points: { show: false },
      value: (_plot, value) => (value === null ? "–" : this.format(value)),
      ...(index === 0 && { fill: translucent(stroke) }),
      paths: bars ? uPlot.paths.bars!({ size: [0.8, 40], align: 1 }) : uPlot.paths.stepped!({ align: 1 }),
    };
  }

  /** A colour of the theme as a canvas takes it. */
  private paint(name: string): string {
    this.target.style.color = `var(${name})`;
    const found = getComputedStyle(this.target).color;
    this.target.style.color = "";
    return found;
  }
}

function sameCurves(before: Curve[] | undefined, now: Curve[]): boolean {
  return before === undefined || before.map(({ label: name }) => name).join("\n") === now.map(({ label: name }) => name).join("\n");
}

function translucent(colour: string): string {
  return colour.replace("rgb(", "rgba(").replace(")", ", 0.14)");
}

function moment(seconds: number): string {
  return new Intl.DateTimeFormat(locale.tag, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }).format(seconds * 1000);
}

/** A time on the axis, whose marks are so many s apart. */
function label(seconds: number, step: number): string {
  const options: Intl.DateTimeFormatOptions = step < 86_400 ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
  const midnight = new Date(seconds * 1000);
  const whole = step < 86_400 && midnight.getHours() + midnight.getMinutes() === 0;
  return new Intl.DateTimeFormat(locale.tag, whole ? { day: "numeric", month: "short" } : options).format(midnight);
}
