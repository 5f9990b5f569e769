import type { Api, History } from "../api";
import { Backoff } from "../wire/backoff";

/** History: being read, here, or unreadable so far. */
export type Reading = "reading" | "read" | "failed";

/** Reads one conversation's history, as often as it takes. What was asked for before a newer wish is of no use. */
export class Reader {
  state: Reading = "reading";
  private wish = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly backoff: Backoff;

  constructor(
    private readonly api: Api,
    random: () => number,
    private readonly changed: () => void,
  ) {
    this.backoff = new Backoff(random);
  }

  /** Nothing is known and nothing is asked for yet. */
  reset(): void {
    this.forget();
    this.become("reading");
  }

  /** There is nothing to read. */
  skip(): void {
    this.forget();
    this.become("read");
  }

  /** Read, again if need be, and hand over what was read. */
  async read(sessionId: string, take: (history: History) => void): Promise<void> {
    const wish = this.forget();
    if (this.state !== "failed") this.become("reading");
    const history = await this.api.history(sessionId).catch(() => null);
    if (wish !== this.wish) return;
    if (history === null) return this.readLater(sessionId, take);
    this.backoff.reset();
    this.become("read");
    take(history);
  }

  private readLater(sessionId: string, take: (history: History) => void): void {
    this.timer = setTimeout(() => void this.read(sessionId, take), this.backoff.next());
    this.become("failed");
  }

  private forget(): number {
    clearTimeout(this.timer);
    return ++this.wish;
  }

  private become(state: Reading): void {
    this.state = state;
    this.changed();
  }
}
