import type { ReactiveController, ReactiveControllerHost } from "lit";

/** So close to the end counts as being there, px. */
const NEAR = 60;
/** So long after a wheel, a finger, a key or the pointer it is the reader who scrolls, ms. */
const BY_HAND = 1_000;
const HANDS = ["wheel", "touchmove", "pointerdown", "pointermove"];

/** Keeps a scroller at its end while the reader is there, and leaves the reader alone elsewhere. */
export class Bottom implements ReactiveController {
  /** the reader is at the end */
  here = true;
  /** something has come that the reader has not seen */
  unseen = false;
  private scroller: HTMLElement | null = null;
  /** where it was last, and how high its content */
  private top = 0;
  private height = 0;
  private handled = -Infinity;
  private readonly byHand = (): void => void (this.handled = performance.now());
  private readonly sizes = new ResizeObserver(() => this.settle());

  constructor(private readonly host: ReactiveControllerHost & HTMLElement) {
    host.addController(this);
  }

  /** A key scrolls whatever was clicked last, and is told to the document. */
  hostConnected(): void {
    document.addEventListener("keydown", this.byHand);
  }

  hostDisconnected(): void {
    document.removeEventListener("keydown", this.byHand);
    this.sizes.disconnect();
    this.scroller = null;
  }

  /** Watch a scroller and what it scrolls. */
  watch(scroller: HTMLElement, content: HTMLElement): void {
    if (this.scroller === scroller) return;
    this.scroller = scroller;
    this.note(scroller);
    this.sizes.observe(scroller);
    this.sizes.observe(content);
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    for (const kind of HANDS) scroller.addEventListener(kind, this.byHand, { passive: true });
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
    const { scroller } = this;
    if (!this.here || !scroller) return;
    scroller.scrollTop = scroller.scrollHeight;
    this.note(scroller);
  }

  private scrolled(): void {
    const { scroller } = this;
    if (!scroller) return;
    const near = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
    // Only who goes up leaves the end. What has grown since the last frame is far from it too. What has shrunk is moved
    // up by the browser, and may have grown again by now.
    const byHand = performance.now() - this.handled < BY_HAND;
    const up = scroller.scrollTop < this.top && (byHand ? scroller.scrollHeight >= this.height : scroller.scrollHeight === this.height);
    this.note(scroller);
    if (near) this.set(true, false);
    else if (up) this.set(false, this.unseen);
  }

  private note({ scrollTop, scrollHeight }: HTMLElement): void {
    this.top = scrollTop;
    this.height = scrollHeight;
  }

  private set(here: boolean, unseen: boolean): void {
    if (here === this.here && unseen === this.unseen) return;
    this.here = here;
    this.unseen = unseen;
    this.host.requestUpdate();
  }
}
