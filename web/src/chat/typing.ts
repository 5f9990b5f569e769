const LASTS = 6_000;

/** Whether somebody else types in this conversation: true for a while after each sign. */
export class Typing {
  active = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

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
}
