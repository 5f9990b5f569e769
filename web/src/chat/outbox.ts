import type { Store } from "../storage";
import type { Frame } from "../wire/frames";

/** A frame that the server has not acknowledged. `sessionId` null: it goes to the first session that is named. */
export interface Unsent {
  frame: Frame & { message_id: string };
  sessionId: string | null;
  /** when it was written, RFC 3339 */
  at: string;
}

/** Frames that somebody has written: what they say. */
const WORDS = new Set(["user_message", "note"]);

/** Frames of one user that wait for their ack, in the order in which they were made. Messages survive a reload of the
 *  tab; commands (stop, regenerate, …) are of no use after one and don't. */
export class Outbox {
  private readonly waiting = new Map<string, Unsent>();

  constructor(
    private readonly store: Store,
    private readonly key: string,
  ) {
    for (const unsent of restored(store.getItem(key))) this.waiting.set(unsent.frame.message_id, unsent);
  }

  add(unsent: Unsent): void {
    this.waiting.set(unsent.frame.message_id, unsent);
    this.keep();
  }

  /** Acknowledged, refused or withdrawn. */
  remove(id: string): Unsent | undefined {
    const unsent = this.waiting.get(id);
    if (this.waiting.delete(id)) this.keep();
    return unsent;
  }

  /** What waits for a session, oldest first. */
  of(sessionId: string): Unsent[] {
    return [...this.waiting.values()].filter((unsent) => unsent.sessionId === sessionId);
  }

  /** The session for which something waits. */
  get owing(): string | null {
    return [...this.waiting.values()].find((unsent) => unsent.sessionId !== null)?.sessionId ?? null;
  }

  /** Give a session what waits for `from`: null for what has none yet, or an id that turned out not to exist. */
  adopt(sessionId: string, from: string | null): void {
    for (const unsent of this.waiting.values()) if (unsent.sessionId === from) unsent.sessionId = sessionId;
    this.keep();
  }

  private keep(): void {
    const messages = [...this.waiting.values()].filter(({ frame }) => WORDS.has(frame.type));
    if (messages.length > 0) this.store.setItem(this.key, JSON.stringify(messages));
    else this.store.removeItem(this.key);
  }
}

function restored(text: string | null): Unsent[] {
  try {
    const value: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(value) ? value.filter(isUnsent) : [];
  } catch {
    return [];
  }
}

function isUnsent(value: Partial<Unsent> | null): value is Unsent {
  return typeof value?.frame?.message_id === "string" && typeof value.frame.content === "string";
}
