import type { ReactiveController, ReactiveControllerHost } from "lit";
import { de } from "./de";
import { en, type Catalogue, type Key } from "./en";

const CATALOGUES = { en, de } satisfies Record<string, Catalogue>;

export type Language = keyof typeof CATALOGUES;
export const LANGUAGES: Record<Language, string> = { en: "English", de: "Deutsch" };
export type { Key };

/** The language that fits best: asked for, else the reader's, else English. */
export function chooseLanguage(asked: string | null, preferred: readonly string[]): Language {
  for (const tag of [asked ?? "", ...preferred]) {
    const language = tag.toLowerCase().split("-")[0] ?? "";
    if (language in CATALOGUES) return language as Language;
  }
  return "en";
}

/** The page's language, with its texts, times and numbers. Elements follow it with `Localized`. */
class Locale {
  language: Language = "en";
  /** the reader's own variant of the language, for times: `en-GB` writes them otherwise than `en-US` */
  tag = "en";
  readonly hosts = new Set<ReactiveControllerHost>();

  use(language: Language): void {
    this.language = language;
    this.tag = navigator.languages.find((tag) => tag.split("-")[0] === language) ?? language;
    document.documentElement.lang = language;
    for (const host of this.hosts) host.requestUpdate();
  }

  text<K extends string>(texts: Texts<K>, key: K, values: Values): string {
    return texts[this.language][key].replaceAll(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
  }
}

export const locale = new Locale();

/** The same texts in every language. */
export type Texts<K extends string> = Record<Language, Record<K, string>>;
type Values = Record<string, string | number>;

/** What gives the texts of a part of the page by their keys. */
export function translator<K extends string>(texts: Texts<K>): (key: K, values?: Values) => string {
  return (key, values = {}) => locale.text(texts, key, values);
}

export const t = translator<Key>(CATALOGUES);

/** Renders an element again when the language changes. */
export class Localized implements ReactiveController {
  constructor(private readonly host: ReactiveControllerHost) {
    host.addController(this);
  }

  hostConnected(): void {
    locale.hosts.add(this.host);
  }

  hostDisconnected(): void {
    locale.hosts.delete(this.host);
  }
}
