import type { Store } from "../storage";

/** A text that somebody is writing. It survives a reload of the tab, and is forgotten when it is sent. */
export class Unfinished {
  constructor(
    private readonly store: Store,
    private readonly key: string,
  ) {}

  get text(): string {
    return this.store.getItem(this.key) ?? "";
  }

  set text(text: string) {
    // What a store without room can't keep stays in its field; an older text must not come back in its place.
    this.store.removeItem(this.key);
    if (text !== "") attempt(() => this.store.setItem(this.key, text));
  }
}

function attempt(act: () => void): void {
  try {
    act();
  } catch (problem) {
    if (!(problem instanceof DOMException)) throw problem;
  }
}
