/** One step of a longer work; true when there is more to do. */
export type Step = () => boolean;

/** How long the page may be kept busy at once, ms. */
const BUDGET = 10;

/** Does long work in small steps between which the page stays responsive. Works take turns. */
export class Slices {
  private readonly works: Step[] = [];
  private scheduled = false;

  constructor(
    private readonly later: (run: () => void) => void = (run) => setTimeout(run, 0),
    private readonly now: () => number = () => performance.now(),
  ) {}

  add(work: Step): void {
    this.works.push(work);
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled || this.works.length === 0) return;
    this.scheduled = true;
    this.later(() => this.run());
  }

  private run(): void {
    this.scheduled = false;
    const end = this.now() + BUDGET;
    while (this.works.length > 0 && this.now() < end) {
      const work = this.works.shift()!;
      if (work()) this.works.push(work);
    }
    this.schedule();
  }
}
