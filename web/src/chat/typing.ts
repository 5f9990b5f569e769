const LASTS = 6_000;
const EVERY = 3_000;

/** Who types in this conversation: somebody else, for a while after each sign, and when to tell that this reader does. */
export class Typing {
  active = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private toldAt = -Infinity;

  constructor(private readonly changed: () => void) {}

  seen(): void {
    this.active = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.active = false;
      this.changed();
    }, LASTS);
  }

  clear(): void {
    this.active = false;
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
