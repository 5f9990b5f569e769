import type { Page } from "./api";
import { Live, type LiveState } from "./live";

/** A list that is read by HTTP, page by page, when it is looked at. */
export class Records<T> {
  private more: T[] = [];
  private next: string | null = null;
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
    const page = await this.read(from).catch(() => null);
    if (page && this.next === from) {
      this.more = [...this.more, ...page.items];
      this.next = page.next;
    }
    this.changed();
  }

  private async begin(): Promise<Page<T>> {
    const page = await this.read(null);
    this.more = [];
    this.next = page.next;
    return page;
  }
}
