import { EVERYTHING, readQuery, writeQuery, type ListQuery } from "./list-query";
import { readPeriod, writePeriod, type Period } from "./report";

export const VIEWS = ["conversations", "metrics", "takeovers", "audit", "alerts", "replies"] as const;
export type View = (typeof VIEWS)[number];

/** So many conversations can be watched at once. */
const MOST_OPEN = 200;

/** What the dashboard's address says: the view, the open conversations and the one in front, the list, the period. */
export interface Place {
  view: View;
  open: string[];
  at: string | null;
  query: ListQuery;
  period: Period;
}

export const START: Place = { view: "conversations", open: [], at: null, query: EVERYTHING, period: { span: "day" } };

/** `linked`, the session to which a link leads, is opened with the others and shown. */
export function readPlace(search: string, linked: string | null): Place {
  const params = new URLSearchParams(search);
  const view = VIEWS.find((known) => known === params.get("view")) ?? "conversations";
  const open = [...new Set([...params.getAll("open"), ...(linked ? [linked] : [])])].slice(-MOST_OPEN);
  const at = linked ?? params.get("at");
  return { view, open, at: open.find((id) => id === at) ?? null, query: readQuery(params), period: readPeriod(params) };
}

/** The query part of the address; what else it says, as the language, stays. */
export function writePlace({ view, open, at, query, period }: Place, search: string): string {
  const params = new URLSearchParams(search);
  for (const key of ["view", "open", "at"]) params.delete(key);
  if (view !== "conversations") params.set("view", view);
  for (const id of open) params.append("open", id);
  if (at !== null) params.set("at", at);
  writeQuery(query, params);
  writePeriod(period, params);
  const text = params.toString();
  return text && `?${text}`;
}
