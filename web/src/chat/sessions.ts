import { ApiError, type Api, type Session } from "../api";

const PAGE = 30;
const UNDO = 6_000;
const SEARCH_PAUSE = 250;
const REFRESH_PAUSE = 400;

/** A delete that can still be taken back. */
export interface Removal {
  session: Session;
  timer: ReturnType<typeof setTimeout>;
}

/** The user's conversations, newest activity first, as far as they have been paged in. */
export class Sessions {
  items: Session[] = [];
  query = "";
  state: "reading" | "read" | "failed" = "reading";
  removal: Removal | null = null;
  /** all that were read, in the list or not: the open conversation keeps its menu while a search hides its row */
  private readonly known = new Map<string, Session>();
  private readonly gone = new Set<string>();
  private cursor: string | null = null;
  private asked = 0;
  private pause: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly api: Api,
    private readonly changed: () => void,
    /** a conversation is gone for good */
    private readonly removed: (id: string) => void,
  ) {}

  get hasMore(): boolean {
    return this.cursor !== null;
  }

  find(id: string | null): Session | undefined {
    return id === null ? undefined : this.known.get(id);
  }

  search(query: string): void {
    this.query = query;
    this.later(SEARCH_PAUSE);
  }

  /** Something has happened that moves the list. */
  refresh(): void {
    this.later(REFRESH_PAUSE);
  }

  async read(): Promise<void> {
    await this.fetch({ limit: Math.min(100, Math.max(PAGE, this.items.length)) }, []);
  }

  async more(): Promise<void> {
    if (this.cursor) await this.fetch({ limit: PAGE, cursor: this.cursor }, this.items);
  }

  async rename(id: string, name: string): Promise<void> {
    this.replace(await this.api.rename(id, name));
  }

  async share(id: string): Promise<string> {
    const token = await this.api.share(id);
    this.change(id, { share_token: token });
    return token;
  }

  async unshare(id: string): Promise<void> {
    await this.api.unshare(id);
    this.change(id, { share_token: null });
  }

  /** Hide a conversation now and delete it soon, unless that is undone. */
  remove(session: Session): void {
    this.removeNow();
    this.removal = { session, timer: setTimeout(() => this.removeNow(), UNDO) };
    this.changed();
  }

  undo(): void {
    if (this.removal) clearTimeout(this.removal.timer);
    this.removal = null;
    this.changed();
  }

  /** Carry out a delete that waits: its time is over, or the page is. */
  removeNow(): void {
    const { removal } = this;
    if (!removal) return;
    this.undo();
    void this.removeForGood(removal.session.id);
  }

  /** What the list shows: a conversation that is about to be deleted is not in it. */
  get shown(): Session[] {
    return this.items.filter(({ id }) => id !== this.removal?.session.id && !this.gone.has(id));
  }

  private async removeForGood(id: string): Promise<void> {
    this.gone.add(id);
    this.changed();
    const error: unknown = await this.api.remove(id).catch((failure: unknown) => failure);
    if (error === undefined || (error instanceof ApiError && error.status === 404)) {
      this.known.delete(id);
      return this.removed(id);
    }
    this.gone.delete(id);
    this.changed();
  }

  private async fetch(query: { limit: number; cursor?: string }, before: Session[]): Promise<void> {
    const asked = ++this.asked;
    const page = await this.api.sessions({ ...query, q: this.query.trim() }).catch(() => null);
    if (asked !== this.asked) return;
    if (page || this.items.length === 0) this.state = page ? "read" : "failed";
    if (page) {
      for (const session of page.sessions) this.known.set(session.id, session);
      this.items = [...before, ...page.sessions];
      this.cursor = page.next_cursor;
    }
    this.changed();
  }

  private later(ms: number): void {
    clearTimeout(this.pause);
    this.pause = setTimeout(() => void this.read(), ms);
  }

  private change(id: string, change: Partial<Session>): void {
    const session = this.find(id);
    if (session) this.replace({ ...session, ...change });
  }

  private replace(fresh: Session): void {
    const whole = { ...this.known.get(fresh.id), ...fresh };
    this.known.set(fresh.id, whole);
    this.items = this.items.map((session) => (session.id === fresh.id ? whole : session));
    this.changed();
  }
}
