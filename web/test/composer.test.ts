import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Unfinished } from "../src/chat/unfinished";
import { MemoryStore } from "../src/storage";
import { keyboardIsFree } from "../src/ui/browser";
import "../src/ui/composer";
import type { Composer } from "../src/ui/composer";

class Sizes {
  observe(): void {}
  disconnect(): void {}
}

let store: MemoryStore;

beforeEach(() => {
  store = new MemoryStore();
  vi.stubGlobal("ResizeObserver", Sizes);
});

afterEach(() => {
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

async function opened(key = "a"): Promise<{ composer: Composer; field: HTMLTextAreaElement }> {
  const composer = document.createElement("chatbox-composer") as Composer;
  composer.unfinished = new Unfinished(store, key);
  document.body.append(composer);
  await composer.updateComplete;
  return { composer, field: composer.shadowRoot!.querySelector("textarea")! };
}

function type(field: HTMLTextAreaElement, text: string): void {
  field.value = text;
  field.dispatchEvent(new Event("input"));
}

test("what is being written is there after a reload, in its own conversation", async () => {
  type((await opened()).field, "Dear\nAnn");
  expect((await opened("a")).field.value).toBe("Dear\nAnn");
  expect((await opened("b")).field.value).toBe("");
});

test("what was sent or taken back is not there again", async () => {
  const { composer, field } = await opened();
  const said = vi.fn();
  composer.addEventListener("say", (event) => said((event as CustomEvent).detail));
  type(field, "hello");
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
  expect(said).toHaveBeenCalledWith("hello");
  expect((await opened()).field.value).toBe("");
  type(field, "again");
  type(field, "");
  expect((await opened()).field.value).toBe("");
});

test("a composer that gets another conversation shows what was being written there", async () => {
  const { composer, field } = await opened("a");
  type(field, "for a");
  composer.unfinished = new Unfinished(store, "b");
  await composer.updateComplete;
  expect(field.value).toBe("");
  composer.unfinished = new Unfinished(store, "a");
  await composer.updateComplete;
  expect(field.value).toBe("for a");
});

test("a store without room loses no word from the field, and brings no older one back", async () => {
  const { field } = await opened();
  type(field, "short");
  vi.spyOn(store, "setItem").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  type(field, "much longer");
  expect(field.value).toBe("much longer");
  expect(new Unfinished(store, "a").text).toBe("");
});

interface State {
  active?: Element | null;
  touch?: boolean;
  framed?: boolean;
  focused?: boolean;
}

function pageWith({ active = document.body, touch = false, framed = false, focused = true }: State): Window {
  const page = {
    document: { activeElement: active, body: document.body, hasFocus: () => focused },
    matchMedia: (query: string) => ({ matches: touch && query === "(pointer: coarse)" }),
    parent: null as unknown,
  };
  if (!framed) page.parent = page;
  return page as unknown as Window;
}

test.each<[string, State, boolean]>([
  ["a page that has just opened", {}, true],
  ["a page in the background", { focused: false }, true],
  ["a page in which nothing is active", { active: null }, true],
  ["a page whose reader is in a field", { active: document.createElement("input") }, false],
  ["a phone, where it would come up on the screen", { touch: true }, false],
  ["a frame while the page around it is worked in", { framed: true, focused: false }, false],
  ["a frame that is worked in", { framed: true }, true],
])("whether the keyboard is free in %s", (_, state, free) => {
  expect(keyboardIsFree(pageWith(state))).toBe(free);
});
