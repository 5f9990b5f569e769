import type { Bucket, Figures, StaffFrame } from "./frames";
import { Live, type LiveState } from "./live";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** How often the numbers of a period that lasts until now are read again, ms. */
const EVERY = 15_000;
/** Steps of the charts, ms: each shows as many points as fit. */
const STEPS = [60_000, 5 * 60_000, 15 * 60_000, HOUR, 6 * HOUR, DAY, 7 * DAY];
const POINTS = 150;

export const SPANS = { hour: HOUR, day: DAY, week: 7 * DAY, month: 30 * DAY } as const;
export type Span = keyof typeof SPANS;

/** What is reported on: a span until now, or the local calendar days between two, both included. */
export type Period = { span: Span } | { from: string; to: string };

export interface Numbers {
  figures: Figures;
  series: Bucket[];
  /** ms */
  step: number;
}

/** The numbers of a period, kept up to date while they are looked at. */
export class Report {
  period: Period = { span: "day" };
  private readonly numbers: Live<Period, Numbers>;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(ask: (frame: StaffFrame) => Promise<StaffFrame>, changed: () => void) {
    const read = async (period: Period): Promise<Numbers> => {
      const { start, end } = bounds(period, Date.now());
      const step = stepOf(end - start);
      const metadata = { start_time: rfc3339(start), end_time: rfc3339(end), step: String(step / 1000) };
      const { figures, series = [] } = await ask({ type: "figures", metadata });
      return { figures: figures!, series, step };
    };
    this.numbers = new Live(this.period, read, changed, EVERY / 3);
  }

  get state(): LiveState {
    return this.numbers.state;
  }

  get problem(): string | null {
    return this.numbers.problem;
  }

  get value(): Numbers | null {
    return this.numbers.value;
  }

  /** Begin to look at it, or at another period. */
  show(period: Period): void {
    this.period = period;
    this.numbers.want(period);
    clearInterval(this.timer);
    this.timer = setInterval(() => this.refresh(), EVERY);
  }

  refresh(): void {
    if (this.timer !== undefined && !document.hidden) this.numbers.refresh();
  }

  /** Nobody looks at it any more. */
  hide(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.numbers.stop();
  }
}

export function readPeriod(params: URLSearchParams): Period {
  const [from, to, span] = [params.get("period_from"), params.get("period_to"), params.get("span")];
  if (from && to && Date.parse(`${from}T00:00:00`) <= Date.parse(`${to}T00:00:00`)) return { from, to };
  return { span: span && span in SPANS ? (span as Span) : "day" };
}

export function writePeriod(period: Period, params: URLSearchParams): void {
  for (const key of ["period_from", "period_to", "span"]) params.delete(key);
  if ("from" in period) {
    params.set("period_from", period.from);
    params.set("period_to", period.to);
  } else if (period.span !== "day") params.set("span", period.span);
}

export function bounds(period: Period, now: number): { start: number; end: number } {
  if ("span" in period) return { start: now - SPANS[period.span], end: now };
  return { start: Date.parse(`${period.from}T00:00:00`), end: Math.min(now, Date.parse(`${period.to}T23:59:59.999`)) };
}

/** The smallest step of which no more points than fit lie in a length of time, both in ms. */
export function stepOf(length: number): number {
  return STEPS.find((step) => length / step <= POINTS) ?? STEPS.at(-1)!;
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}
