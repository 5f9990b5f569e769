import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { MemoryStore } from "../src/storage";
import { readClaims } from "../src/token/claims";
import { Origins } from "../src/token/origins";
import { takeFragmentToken, TokenSource } from "../src/token/source";

const OWN = "https://chat.example";
const PARENT = "https://app.example";

function jwt(claims: object): string {
  const part = (value: object): string => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  };
  return `${part({ alg: "HS256" })}.${part(claims)}.signature`;
}

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

class FakeWindow extends EventTarget {
  parent: unknown = this;
  opener: unknown = null;
  heard: unknown[] = [];

  postMessage(message: unknown): void {
    this.heard.push(message);
  }

  hear(source: unknown, origin: string, data: unknown): void {
    const event = new Event("message");
    this.dispatchEvent(Object.assign(event, { source, origin, data }));
  }
}

let page: FakeWindow;
let host: FakeWindow;
let store: MemoryStore;
let log: string[];

beforeEach(() => {
  vi.useFakeTimers();
  [page, host, store, log] = [new FakeWindow(), new FakeWindow(), new MemoryStore(), []];
});

afterEach(() => void vi.useRealTimers());

function source(): TokenSource {
  return new TokenSource(page as unknown as Window, store, new Origins(OWN, [PARENT], false), {
    token: (_, claims) => log.push(claims.userId),
    missing: () => log.push("missing"),
  });
}

test("claims are read from the token, whatever its letters", () => {
  expect(readClaims(jwt({ user_id: "u", name: "Zoë 😀", exp: 5 }))).toEqual({ userId: "u", name: "Zoë 😀", roles: [], expires: 5000 });
  expect(readClaims(jwt({ user_id: "u", roles: ["admin", 7] }))?.roles).toEqual(["admin"]);
  expect(readClaims(jwt({ sub: "s" }))).toEqual({ userId: "s", name: "s", roles: [], expires: null });
});

test.each(["", "x", "a.b.c", "a.bnVsbA.c", jwt({}), jwt({ user_id: 7 })])("%s is no token", (text) => {
  expect(readClaims(text)).toBeNull();
});

test("only listed origins may hand over a token", () => {
  const origins = new Origins(OWN, [PARENT], true);
  expect([PARENT, OWN].every((origin) => origins.allows(origin))).toBe(true);
  for (const origin of ["null", "", `${PARENT}.evil.example`, "https://app.example:8443", "http://app.example", "http://localhost:3000"])
    expect(origins.allows(origin)).toBe(false);
});

test("development with an empty list means loopback on any port", () => {
  const origins = new Origins(OWN, [], true);
  expect(["http://localhost:3000", "http://127.0.0.1:1", "http://[::1]:2"].every((origin) => origins.allows(origin))).toBe(true);
  expect(origins.allows("http://localhost.evil.example")).toBe(false);
  expect(new Origins(OWN, [], false).allows("http://localhost:3000")).toBe(false);
});

test("the fragment's token is taken out of the address, the rest of it stays", () => {
  window.history.replaceState(null, "", "/chatbox/?lang=de#token=abc&x=1");
  expect(takeFragmentToken(window)).toBe("abc");
  expect(window.location.href).toMatch(/\/chatbox\/\?lang=de#x=1$/);
  expect(takeFragmentToken(window)).toBeNull();
});

test("the fragment's token comes first and survives a reload of the tab", () => {
  source().start(jwt({ user_id: "fragment" }));
  source().start(null);
  expect(log).toEqual(["fragment", "fragment"]);
});

test("without any token and any host, it is missing at once", () => {
  source().start(null);
  expect(log).toEqual(["missing"]);
});

test("a parent is told that the page is ready and its token counts more than an old one", () => {
  page.parent = host;
  store.setItem("chatbox.token", jwt({ user_id: "old" }));
  source().start(null);
  expect(host.heard).toEqual([{ type: "chatbox.ready" }]);
  page.hear(host, PARENT, { type: "chatbox.token", token: jwt({ user_id: "new" }) });
  vi.advanceTimersByTime(5_000);
  expect(log).toEqual(["new"]);
});

test("a parent that says nothing leaves the token of the last load", () => {
  page.parent = host;
  store.setItem("chatbox.token", jwt({ user_id: "old" }));
  source().start(null);
  vi.advanceTimersByTime(1_500);
  expect(log).toEqual(["old"]);
});

test("a message from a wrong origin, another window or of another form is nothing", () => {
  page.parent = host;
  source().start(null);
  const token = jwt({ user_id: "evil" });
  page.hear(host, "https://evil.example", { type: "chatbox.token", token });
  page.hear(new FakeWindow(), PARENT, { type: "chatbox.token", token });
  page.hear(null, PARENT, { type: "chatbox.token", token });
  for (const data of [null, "x", 5, { type: "other", token }, { type: "chatbox.token", token: 5 }, { type: "chatbox.token", token: "x" }])
    page.hear(host, PARENT, data);
  expect(log).toEqual([]);
});

test("an opener may hand over the token too", () => {
  page.opener = host;
  source().start(null);
  page.hear(host, PARENT, { type: "chatbox.token", token: jwt({ user_id: "opened" }) });
  expect(log).toEqual(["opened"]);
});

test("the next token is asked for a minute before the end, and again until it comes", () => {
  page.parent = host;
  source().start(jwt({ user_id: "u", exp: inSeconds(300) }));
  vi.advanceTimersByTime(239_000);
  expect(host.heard).toEqual([]);
  vi.advanceTimersByTime(2_000);
  expect(host.heard).toEqual([{ type: "chatbox.token_request" }]);
  vi.advanceTimersByTime(15_000);
  expect(host.heard).toHaveLength(2);
  page.hear(host, PARENT, { type: "chatbox.token", token: jwt({ user_id: "u", exp: inSeconds(3600) }) });
  vi.advanceTimersByTime(60_000);
  expect(host.heard).toHaveLength(2);
});

test("a token that is valid for years does not overflow the timer", () => {
  page.parent = host;
  source().start(jwt({ user_id: "u", exp: inSeconds(10 * 365 * 86_400) }));
  vi.advanceTimersByTime(60_000);
  expect(host.heard).toEqual([]);
});

test("a refused token is forgotten and another is asked for", () => {
  page.parent = host;
  const tokens = source();
  tokens.start(jwt({ user_id: "u" }));
  tokens.forget();
  expect([tokens.token, store.getItem("chatbox.token")]).toEqual([null, null]);
  expect(host.heard).toEqual([{ type: "chatbox.token_request" }]);
});
