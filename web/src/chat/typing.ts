import type { Sender } from "../wire/frames";

const LASTS = 6_000;
const EVERY = 3_000;

/** Who is typing; `name` is known of staff. */
export interface Typist {
  sender: Sender;
  name: string;
}

/** Who types in this conversation: somebody else, for a while after each sign, and when to tell that this reader does. */
export class Typing {
  by: Typist | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private toldAt = -Infinity;

  constructor(private readonly changed: () => void) {}

  get active(): boolean {
    return this.by !== null;
  }

  seen(by: Typist = { sender: "user", name: "" }): void {
    this.by = by;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.by = null;
      this.changed();
    }, LASTS);
  }

  /** Nobody types any more, or not who was said to. */
  clear(sender = this.by?.sender): void {
    if (sender !== this.by?.sender) return;
    this.by = null;
    clearTimeout(this.timer);
  }

  /** Whether the others should be told now that this reader types; true at most once in a while. */
  due(): boolean {
    if (Date.now() - this.toldAt < EVERY) return false;
    this.toldAt = Date.now();
    return true;
  }

  /** This reader has sent what was typed. */
  rest(): void {
    this.toldAt = -Infinity;
  }
}
