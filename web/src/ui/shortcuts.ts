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
    if (!act || writes(event)) return;
    event.preventDefault();
    if (!event.repeat) act();
  };
}

/** On some keyboards Alt and a key write what can't be written otherwise, as @ in German on a Mac: that belongs to the
 *  text. */
function writes(event: KeyboardEvent): boolean {
  const field = event.composedPath()[0];
  return (field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement) && /^[@[\]{}|\\~€#^`]$/.test(event.key);
}
