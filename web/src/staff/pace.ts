import type { StaffFrame } from "./frames";

/** So many frames at once, then one in so many ms: the server drops what is more than 20 in a second. */
const BURST = 8;
const EVERY = 100;

/** Hands frames on no faster than the server takes them, in their order. */
export class Pace {
  private waiting: StaffFrame[] = [];
  private credit = BURST;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly send: (frame: StaffFrame) => void) {}

  push(frame: StaffFrame): void {
    this.waiting.push(frame);
    this.run();
  }

  /** The line is gone; what waited for it is asked for anew on the next one. */
  clear(): void {
    this.waiting = [];
  }

  stop(): void {
    this.clear();
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private run(): void {
    while (this.credit > 0 && this.waiting.length > 0) {
      this.credit--;
      this.send(this.waiting.shift()!);
    }
    if (this.credit < BURST) this.timer ??= setTimeout(() => this.refill(), EVERY);
  }

  private refill(): void {
    this.timer = undefined;
    this.credit++;
    this.run();
  }
}
