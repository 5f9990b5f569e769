import type { Store } from "../storage";

export type Theme = "auto" | "light" | "dark";
export const THEMES: readonly Theme[] = ["auto", "light", "dark"];

const KEY = "chatbox.theme";

/** Light, dark or what the reader's system says; kept with the tab. */
export class Appearance {
  theme: Theme;

  constructor(
    private readonly root: HTMLElement,
    private readonly store: Store,
    asked: string | null,
  ) {
    this.theme = themeOf(asked) ?? themeOf(store.getItem(KEY)) ?? "auto";
    this.apply();
  }

  use(theme: Theme): void {
    this.theme = theme;
    this.store.setItem(KEY, theme);
    this.apply();
  }

  private apply(): void {
    if (this.theme === "auto") delete this.root.dataset.theme;
    else this.root.dataset.theme = this.theme;
  }
}

function themeOf(text: string | null): Theme | null {
  return THEMES.find((theme) => theme === text) ?? null;
}
