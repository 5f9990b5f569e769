import type { StaffFrame, StaffSession } from "./frames";
import { EVERYTHING, wireQuery, type ListQuery } from "./list-query";
import { Live, type LiveState } from "./live";

/** How often the list is read again while sessions change, ms. */
const PAUSE = 2_000;
/** How long a hand that has moved over the list may be about to choose, ms. */
const HAND = 2_000;
const MOST_PREVIEWS = 500;

export interface SessionPage {
  sessions: StaffSession[];
  total: number;
}

/** One page of all sessions, kept up to date: rows change in place at once, their order and number soon after. */
export class SessionList {
  query: ListQuery = EVERYTHING;
  /** what was last said in a session, as far as it was pushed */
  readonly previews = new Map<string, string>();
  /** set while the reader's hand is on the list: nothing moves under it */
  private hand: ReturnType<typeof setTimeout> | undefined;
  private missed = false;
  private readonly page: Live<ListQuery, SessionPage>;

  constructor(
    ask: (frame: StaffFrame) => Promise<StaffFrame>,
    private readonly changed: () => void,
  ) {
    const read = async (query: ListQuery): Promise<SessionPage> => {
      const { sessions = [], total = 0 } = await ask({ type: "list", metadata: wireQuery(query) });
      return { sessions, total };
    };
    this.page = new Live(this.query, read, changed, PAUSE);
  }

  get state(): LiveState {
    return this.page.state;
  }

  get problem(): string | null {
    return this.page.problem;
  }

  get sessions(): StaffSession[] {
    return this.page.value?.sessions ?? [];
  }

  get total(): number {
    return this.page.value?.total ?? 0;
  }

  find(id: string): StaffSession | undefined {
    return this.sessions.find((session) => session.id === id);
  }

  show(query: ListQuery): void {
    this.query = query;
    this.page.want(query);
  }

  /** After a reconnect, or on request. */
  read(): void {
    void this.page.read();
  }

  /** The reader has moved over the list, and is about to choose perhaps. */
  hold(): void {
    clearTimeout(this.hand);
    this.hand = setTimeout(() => this.letGo(), HAND);
  }

  letGo(): void {
    clearTimeout(this.hand);
    this.hand = undefined;
    if (this.missed) this.refresh();
  }

  /** News of a session, on this page or not. */
  know(session: StaffSession, preview: string | undefined): void {
    if (preview !== undefined) this.remember(session.id, preview);
    const { value } = this.page;
    if (value) value.sessions = value.sessions.map((shown) => (shown.id === session.id ? session : shown));
    this.refresh();
  }

  gone(id: string): void {
    const { value } = this.page;
    this.previews.delete(id);
    if (value) value.sessions = value.sessions.filter((shown) => shown.id !== id);
    this.refresh();
    this.changed();
  }

  close(): void {
    clearTimeout(this.hand);
    this.page.stop();
  }

  private remember(id: string, preview: string): void {
    this.previews.delete(id);
    this.previews.set(id, preview);
    for (const oldest of this.previews.keys()) if (this.previews.size > MOST_PREVIEWS) this.previews.delete(oldest);
  }

  private refresh(): void {
    this.missed = this.hand !== undefined;
    if (!this.missed) this.page.refresh();
  }
}
