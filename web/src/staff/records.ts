import type { Page } from "./api";
import { Live, type LiveState } from "./live";
import { codeOf, Refused } from "./requests";

/** A list that is read by HTTP, page by page, when it is looked at. */
export class Records<T> {
  private more: T[] = [];
  private next: string | null = null;
  /** why it could not be read on: a code */
  missed: string | null = null;
  private readonly first: Live<null, Page<T>>;

  constructor(
    private readonly read: (cursor: string | null) => Promise<Page<T>>,
    private readonly changed: () => void,
  ) {
    this.first = new Live(null, () => this.begin(), changed, 0);
  }

  get state(): LiveState {
    return this.first.state;
  }

  get problem(): string | null {
    return this.first.problem;
  }

  get items(): T[] {
    return [...(this.first.value?.items ?? []), ...this.more];
  }

  get hasMore(): boolean {
    return this.next !== null;
  }

  /** Read the newest again. */
  async show(): Promise<void> {
    await this.first.read();
  }

  async readMore(): Promise<void> {
    const from = this.next;
    if (from === null) return;
    const page = await this.read(from).catch((problem: unknown) => problem as Error);
    if (this.next !== from) return;
    this.missed = page instanceof Error ? codeOf(page) : null;
    if (page instanceof Error) this.readOnIn(page, from);
    else this.append(page);
    this.changed();
  }

  /** When the server says how long to wait, it is asked again then. */
  private readOnIn(problem: Error, from: string): void {
    if (!(problem instanceof Refused) || problem.retryAfter === undefined) return;
    setTimeout(() => this.next === from && void this.readMore(), problem.retryAfter);
  }

  private append({ items, next }: Page<T>): void {
    this.more = [...this.more, ...items];
    this.next = next;
  }

  private async begin(): Promise<Page<T>> {
    const page = await this.read(null);
    this.more = [];
    this.missed = null;
    this.next = page.next;
    return page;
  }
}
