import type { Message } from "./message";

/** What the log says about the call for help that is waiting. Times are RFC 3339. */
export interface Call {
  /** when staff were told of it */
  toldAt: string | null;
  /** outside opening hours */
  closed: boolean;
  /** when staff are there again, if that is known */
  opensAt: string | null;
}

const OVER = new Set(["admin_join", "admin_leave"]);

/** The newest news of each kind since the call began. */
export function waitingCall(messages: readonly Message[]): Call {
  const news = sinceLastEnd(messages).map(({ metadata }) => metadata);
  const told = news.findLast(({ state, at }) => state === "told" && at !== undefined);
  const hours = news.findLast(({ open }) => open !== undefined);
  return { toldAt: told?.at ?? null, closed: hours?.open === "false", opensAt: hours?.opens_at ?? null };
}

/** Lines about a call that were no news when they came: asked for again, ended again, told of after its end. */
export function repeated(messages: readonly Message[]): ReadonlySet<string> {
  const found = new Set<string>();
  let state: string | null = null; // null: not known
  for (const { id, kind, metadata } of messages) {
    if (kind !== "event") continue;
    if (OVER.has(metadata.event ?? "")) state = metadata.event === "admin_join" ? "joined" : "none";
    else if (tellsState(metadata)) {
      const news: string = metadata.state ?? "none";
      if (state === null || isNews(news, state)) state = news;
      else if (metadata.email === undefined) found.add(id);
    }
  }
  return found;
}

/** A notification may tell of opening hours only. */
function tellsState({ event, open, at }: Record<string, string>): boolean {
  return event === "help_state" && (open === undefined || at !== undefined);
}

function isNews(news: string, state: string): boolean {
  if (news === "asked") return state === "none";
  return news === "told" ? state === "asked" : state === "asked" || state === "told";
}

/** The line that says that staff have left, while nothing was said since: the assistant has the word again. */
export function departure(messages: readonly Message[]): Message | null {
  const last = messages.findLast((message) => message.kind !== "event" || OVER.has(message.metadata.event ?? ""));
  return last?.metadata.event === "admin_leave" && last.kind === "event" ? last : null;
}

function sinceLastEnd(messages: readonly Message[]): Message[] {
  const events = messages.filter(({ kind }) => kind === "event");
  const end = events.findLastIndex(({ metadata }) => OVER.has(metadata.event ?? "") || endsCall(metadata));
  return events.slice(end + 1).filter(({ metadata }) => metadata.event === "help_state");
}

function endsCall({ event, state }: Record<string, string>): boolean {
  return event === "help_state" && state === "none";
}
