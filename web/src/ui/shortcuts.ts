import type { ReactiveController, ReactiveControllerHost } from "lit";

/** Alt with a key, by its place on the keyboard: a letter typed with Alt differs between systems. */
export class Shortcuts implements ReactiveController {
  constructor(
    host: ReactiveControllerHost,
    private readonly keys: Record<string, () => void>,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    document.addEventListener("keydown", this.onKey);
  }

  hostDisconnected(): void {
    document.removeEventListener("keydown", this.onKey);
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const act = this.keys[event.code];
    if (!act) return;
    event.preventDefault();
    act();
  };
}
