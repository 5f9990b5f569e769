/** What the list of sessions can be sorted by. */
export const SORTS = ["last_activity", "start_time", "end_time", "duration", "message_count", "total_tokens", "user_id"] as const;
export type Sort = (typeof SORTS)[number];
export const LIMITS = [25, 50, 100] as const;

/** Which sessions are listed, how and from where. Dates are local calendar days, both included; "" asks for nothing. */
export interface ListQuery {
  user_id: string;
  status: "" | "active" | "ended";
  admin_assisted: "" | "true" | "false";
  help_requested: "" | "true" | "false";
  from: string;
  to: string;
  sort_by: Sort;
  sort_order: "desc" | "asc";
  limit: number;
  offset: number;
}

export const EVERYTHING: Readonly<ListQuery> = {
  user_id: "",
  status: "",
  admin_assisted: "",
  help_requested: "",
  from: "",
  to: "",
  sort_by: "last_activity",
  sort_order: "desc",
  limit: 25,
  offset: 0,
};

const BOOLEANS = ["true", "false"];
const DATE = /^\d{4}-\d{2}-\d{2}$/;

/** What an address asks for; what it says wrongly counts as not said. */
export function readQuery(params: URLSearchParams): ListQuery {
  const one = (key: keyof ListQuery, allowed: readonly string[]): string => {
    const value = params.get(key) ?? "";
    return allowed.includes(value) ? value : String(EVERYTHING[key]);
  };
  const date = (key: "from" | "to"): string => (isDate(params.get(key) ?? "") ? params.get(key)! : "");
  const offset = Number(params.get("offset") ?? 0);
  return {
    user_id: (params.get("user_id") ?? "").slice(0, 128),
    status: one("status", ["active", "ended"]) as ListQuery["status"],
    admin_assisted: one("admin_assisted", BOOLEANS) as ListQuery["admin_assisted"],
    help_requested: one("help_requested", BOOLEANS) as ListQuery["help_requested"],
    from: date("from"),
    to: date("to"),
    sort_by: one("sort_by", SORTS) as Sort,
    sort_order: one("sort_order", ["asc", "desc"]) as ListQuery["sort_order"],
    limit: Number(one("limit", LIMITS.map(String))),
    offset: Number.isSafeInteger(offset) && offset > 0 ? offset : 0,
  };
}

/** Put into an address what differs from the list of everything. */
export function writeQuery(query: ListQuery, params: URLSearchParams): void {
  for (const key of Object.keys(EVERYTHING) as (keyof ListQuery)[]) {
    if (query[key] === EVERYTHING[key]) params.delete(key);
    else params.set(key, String(query[key]));
  }
}

/** The query as the server takes it. */
export function wireQuery({ from, to, ...query }: ListQuery): Record<string, string> {
  const asked: Record<string, string> = {};
  for (const [key, value] of Object.entries(query)) if (value !== "") asked[key] = String(value);
  const [first, last] = from && to && from > to ? [to, from] : [from, to];
  if (first) asked.start_time_from = new Date(`${first}T00:00:00`).toISOString();
  if (last) asked.start_time_to = new Date(`${last}T23:59:59.999`).toISOString();
  return asked;
}

/** How many filters narrow the list. */
export function filterCount({ user_id, status, admin_assisted, help_requested, from, to }: ListQuery): number {
  return [user_id, status, admin_assisted, help_requested, from || to].filter((value) => value !== "").length;
}

function isDate(text: string): boolean {
  return DATE.test(text) && !Number.isNaN(Date.parse(`${text}T00:00:00`));
}
