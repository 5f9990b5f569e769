import { locale, t } from "./locale";

const MINUTE = 60_000;
const DAY = 86_400_000;

/** The hour and minute of a message. */
export function clock(timestamp: string): string {
  return format(timestamp, { hour: "2-digit", minute: "2-digit" });
}

/** Date and time in full, for a tooltip. */
export function moment(timestamp: string): string {
  return format(timestamp, { dateStyle: "full", timeStyle: "medium" });
}

/** The day of a message: today, yesterday or its date. */
export function day(timestamp: string, now = new Date()): string {
  const days = daysBetween(new Date(timestamp), now);
  if (days === 0) return t("today");
  if (days === 1) return t("yesterday");
  return format(timestamp, { weekday: "long", day: "numeric", month: "long", ...(days > 300 && { year: "numeric" }) });
}

/** How long ago something was, or its date when that is longer than a week. */
export function ago(timestamp: string, now = Date.now()): string {
  const past = Math.max(0, now - Date.parse(timestamp));
  const words = new Intl.RelativeTimeFormat(locale.tag, { numeric: "auto", style: "short" });
  if (past < MINUTE) return words.format(0, "second");
  if (past < 60 * MINUTE) return words.format(-Math.floor(past / MINUTE), "minute");
  if (past < DAY) return words.format(-Math.floor(past / (60 * MINUTE)), "hour");
  if (past < 7 * DAY) return words.format(-Math.floor(past / DAY), "day");
  return format(timestamp, { day: "numeric", month: "short", ...(past > 300 * DAY && { year: "numeric" }) });
}

/** When something was or will be, as a part of a sentence: "at 10:05", "on Monday at 09:00". */
export function when(timestamp: string, now = new Date()): string {
  const days = Math.abs(daysBetween(new Date(timestamp), now));
  if (days === 0) return t("atTime", { time: clock(timestamp) });
  const named = days < 7 ? ({ weekday: "long" } as const) : ({ day: "numeric", month: "long" } as const);
  return t("onDay", { day: format(timestamp, named), time: clock(timestamp) });
}

/** A local calendar day, to tell where one ends. */
export function dayKey(timestamp: string): string {
  return new Date(timestamp).toDateString();
}

function daysBetween(then: Date, now: Date): number {
  const midnight = (date: Date): number => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
  return Math.round((midnight(now) - midnight(then)) / DAY);
}

function format(timestamp: string, options: Intl.DateTimeFormatOptions): string {
  const date = new Date(timestamp);
  return Number.isNaN(date.getTime()) ? "" : new Intl.DateTimeFormat(locale.tag, options).format(date);
}
