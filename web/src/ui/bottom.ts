import type { ReactiveController, ReactiveControllerHost } from "lit";

/** So close to the end counts as being there, px. */
const NEAR = 60;

/** Keeps a scroller at its end while the reader is there, and leaves the reader alone elsewhere. */
export class Bottom implements ReactiveController {
  /** the reader is at the end */
  here = true;
  /** something has come that the reader has not seen */
  unseen = false;
  private scroller: HTMLElement | null = null;
  private readonly sizes = new ResizeObserver(() => this.settle());

  constructor(private readonly host: ReactiveControllerHost & HTMLElement) {
    host.addController(this);
  }

  hostDisconnected(): void {
    this.sizes.disconnect();
    this.scroller = null;
  }

  /** Watch a scroller and what it scrolls. */
  watch(scroller: HTMLElement, content: HTMLElement): void {
    if (this.scroller === scroller) return;
    this.scroller = scroller;
    this.sizes.observe(scroller);
    this.sizes.observe(content);
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  jump(smooth = false): void {
    this.set(true, false);
    this.scroller?.scrollTo({ top: this.scroller.scrollHeight, behavior: smooth ? "smooth" : "instant" });
  }

  /** Something new is at the end. */
  news(): void {
    if (!this.here) this.set(false, true);
  }

  /** Keep what the reader sees in place while something is put before it. */
  async hold(change: () => Promise<unknown>): Promise<void> {
    const scroller = this.scroller;
    const fromEnd = scroller ? scroller.scrollHeight - scroller.scrollTop : 0;
    await change();
    if (scroller) scroller.scrollTop = scroller.scrollHeight - fromEnd;
  }

  private settle(): void {
    if (this.here && this.scroller) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  private scrolled(): void {
    const scroller = this.scroller;
    if (!scroller) return;
    const near = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
    this.set(near, near ? false : this.unseen);
  }

  private set(here: boolean, unseen: boolean): void {
    if (here === this.here && unseen === this.unseen) return;
    this.here = here;
    this.unseen = unseen;
    this.host.requestUpdate();
  }
}
