import type { StaffFrame, StaffSession } from "./frames";
import { EVERYTHING, wireQuery, type ListQuery } from "./list-query";
import { Live, type LiveState } from "./live";

/** How often the list is read again while sessions change, ms. */
const PAUSE = 2_000;

export interface SessionPage {
  sessions: StaffSession[];
  total: number;
}

/** One page of all sessions, kept up to date: rows change in place at once, their order and number soon after. */
export class SessionList {
  query: ListQuery = EVERYTHING;
  /** what was last said in a session, as far as it was pushed */
  readonly previews = new Map<string, string>();
  /** The reader points at the list: nothing moves under their hand. */
  private held = false;
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

  hold(held: boolean): void {
    this.held = held;
    if (!held && this.missed) this.refresh();
  }

  /** News of a session, on this page or not. */
  know(session: StaffSession, preview: string | undefined): void {
    if (preview !== undefined) this.previews.set(session.id, preview);
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
    this.page.stop();
  }

  private refresh(): void {
    this.missed = this.held;
    if (!this.held) this.page.refresh();
  }
}
