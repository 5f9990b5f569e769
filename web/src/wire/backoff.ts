/** Waits that double from `first` to `most` milliseconds, each with full jitter over its upper half. */
export class Backoff {
  private attempt = 0;

  constructor(
    private readonly random: () => number = Math.random,
    private readonly first = 500,
    private readonly most = 20_000,
  ) {}

  next(): number {
    const ceiling = Math.min(this.most, this.first * 2 ** this.attempt++);
    return ceiling / 2 + (ceiling / 2) * this.random();
  }

  reset(): void {
    this.attempt = 0;
  }
}
