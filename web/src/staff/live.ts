import { codeOf, Refused } from "./requests";

export type LiveState = "reading" | "read" | "failed";

/** Something that is asked for, and asked for again when it may have changed, but not more often than `pause` ms. */
export class Live<Wish, Answer> {
  state: LiveState = "reading";
  value: Answer | null = null;
  /** why it failed: a code */
  problem: string | null = null;
  private asked = 0;
  private running = false;
  private again = false;
  private readAt = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private wish: Wish,
    private readonly ask: (wish: Wish) => Promise<Answer>,
    private readonly changed: () => void,
    private readonly pause: number,
  ) {}

  /** Ask for something else, at once. */
  want(wish: Wish): void {
    this.wish = wish;
    this.state = "reading";
    this.problem = null;
    void this.read();
    this.changed();
  }

  /** It may have changed. */
  refresh(): void {
    if (this.running) this.again = true;
    else this.readIn(Math.max(0, this.readAt + this.pause - Date.now()));
  }

  stop(): void {
    this.asked++;
    this.running = this.again = false;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  async read(): Promise<void> {
    this.stop();
    const asked = this.asked;
    this.running = true;
    const answer = await this.ask(this.wish).catch((problem: unknown) => problem as Error);
    if (asked !== this.asked) return;
    this.running = false;
    this.readAt = Date.now();
    if (answer instanceof Error) this.fail(answer);
    else this.take(answer);
    if (this.again) this.refresh();
    this.again = false;
    this.changed();
  }

  private take(answer: Answer): void {
    this.value = answer;
    this.state = "read";
    this.problem = null;
  }

  /** What was read stays; when the server says how long to wait, it is asked again then. */
  private fail(problem: Error): void {
    this.problem = codeOf(problem);
    if (this.value === null || this.state === "reading") this.state = "failed";
    if (problem instanceof Refused && problem.retryAfter !== undefined) this.readIn(problem.retryAfter);
  }

  private readIn(ms: number): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.read();
    }, ms);
  }
}
