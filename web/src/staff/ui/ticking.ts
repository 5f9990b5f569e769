import type { ReactiveController, ReactiveControllerHost } from "lit";

/** Renders an element every second while it is shown, for times that pass. */
export class Ticking implements ReactiveController {
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly needed: () => boolean,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    this.timer = setInterval(() => this.needed() && !document.hidden && this.host.requestUpdate(), 1_000);
  }

  hostDisconnected(): void {
    clearInterval(this.timer);
  }
}
