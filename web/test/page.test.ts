import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Api, ApiError, type Session } from "../src/api";
import { Sessions } from "../src/chat/sessions";
import { de } from "../src/i18n/de";
import { en } from "../src/i18n/en";
import { chooseLanguage, locale, t } from "../src/i18n/locale";
import { ago, day } from "../src/i18n/times";
import { filename } from "../src/ui/browser";
import { parseRoute, sessionPath } from "../src/ui/routes";
import { onWake } from "../src/ui/wake";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  locale.use("en");
});

test("every text is there in every language, with the same places to fill", () => {
  const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    expect(de[key], key).not.toBe("");
    expect(places(de[key]), key).toEqual(places(en[key]));
  }
});

test("the language is the one asked for, else the reader's, else English", () => {
  expect(chooseLanguage("de", ["en"])).toBe("de");
  expect(chooseLanguage("fr", ["de-AT", "en"])).toBe("de");
  expect(chooseLanguage(null, ["fr", "pt-BR"])).toBe("en");
});

test("texts are filled in as text", () => {
  expect(t("eventRenamed", { name: "{name} $& <b>" })).toBe("Renamed to “{name} $& <b>”");
});

test("times are told in the reader's language", () => {
  const now = new Date("2026-11-21T12:00:00Z");
  expect(day("2026-11-21T01:00:00Z", now)).toBe("Today");
  expect(ago("2026-11-21T11:30:00Z", now.getTime())).toMatch(/30 min/);
  locale.use("de");
  expect(day("2026-11-20T11:00:00Z", now)).toBe("Gestern");
  expect(ago("2026-11-21T11:59:50Z", now.getTime())).toBe("jetzt");
  expect(ago("not a time")).toBe("");
});

test.each([
  ["/chatbox/", { view: "chat", sessionId: null }],
  ["/chatbox/c/a%2Fb", { view: "chat", sessionId: "a/b" }],
  ["/chatbox/c/", { view: "chat", sessionId: null }],
  ["/chatbox/c/%E0%A4%A", { view: "chat", sessionId: "%E0%A4%A" }],
  ["/chatbox/s/tok", { view: "shared", token: "tok" }],
  ["/chatbox/staff", { view: "staff", sessionId: null }],
  ["/chatbox/staff/c/a%2Fb", { view: "staff", sessionId: "a/b" }],
])("%s is understood", (path, route) => {
  expect(parseRoute(path, "/chatbox/")).toEqual(route);
});

test("a session's path leads back to it", () => {
  expect(parseRoute(`/p/${sessionPath("a/ü?#")}`, "/p/")).toEqual({ view: "chat", sessionId: "a/ü?#" });
});

test.each<[string, (page: Window) => unknown]>([
  ["is shown again", (page) => page.document.dispatchEvent(new Event("visibilitychange"))],
  ["is thawed", (page) => page.document.dispatchEvent(new Event("resume"))],
  ["comes from the history's cache", (page) => page.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))],
  ["has slept with its machine", () => vi.setSystemTime(Date.now() + 60_000)],
])("a page that %s looks after its connection at once", async (_, wake) => {
  const awake = vi.fn();
  onWake(window, awake);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(awake).not.toHaveBeenCalled();
  wake(window);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(awake).toHaveBeenCalledOnce();
});

test("a file is named after the conversation, in any script", () => {
  expect(filename("Grüße: 你好/../x", "md")).toBe("Grüße-你好-x.md");
  expect(filename("???", "json")).toBe("conversation.json");
});

test("a refusal is an error with its code and its wait", async () => {
  const answer = new Response(JSON.stringify({ error: "slow", code: "TOO_MANY_REQUESTS" }), { status: 429, headers: { "Retry-After": "2" } });
  vi.stubGlobal("fetch", () => Promise.resolve(answer));
  const error = await new Api("http://h/", () => "t").sessions().catch((failure: unknown) => failure);
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({ status: 429, code: "TOO_MANY_REQUESTS", retryAfter: 2000 });
});

test("no answer is status 0, and a probe then knows nothing", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("network")));
  const api = new Api("http://h/", () => null);
  await expect(api.page()).rejects.toMatchObject({ status: 0 });
  expect(await api.probe()).toBeNull();
});

test("a line that has gone dead answers nothing for ever, but is not waited for so long", async () => {
  vi.stubGlobal("fetch", (_: string, { signal }: RequestInit) => new Promise((_, reject) => signal!.addEventListener("abort", reject)));
  const api = new Api("http://h/", () => null);
  const [history, probe] = [vi.fn(), vi.fn()];
  void api.history("s").catch(history);
  void api.probe().then(probe);
  await vi.advanceTimersByTimeAsync(5_000);
  expect([history.mock.calls, probe.mock.calls]).toEqual([[], [[null]]]);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(history).toHaveBeenCalledWith(expect.objectContaining({ status: 0 }));
});

test("an answer that breaks off is none", async () => {
  const broken = new Response(new ReadableStream({ start: (stream) => stream.error(new TypeError("network")) }));
  vi.stubGlobal("fetch", () => Promise.resolve(broken));
  await expect(new Api("http://h/", () => null).history("s")).rejects.toMatchObject({ status: 0 });
});

function session(id: string): Session {
  return { id, name: id, start_time: "", last_activity: "", is_active: false, message_count: 1, help_state: "none", admin_assisted: false };
}

function listing(remove: () => Promise<void> = () => Promise.resolve()): { sessions: Sessions; removed: string[]; calls: string[] } {
  const removed: string[] = [];
  const calls: string[] = [];
  const api = {
    sessions: () => Promise.resolve({ sessions: [session("a"), session("b")], next_cursor: null }),
    remove: (id: string) => {
      calls.push(id);
      return remove();
    },
  } as unknown as Api;
  return { sessions: new Sessions(api, () => undefined, (id) => removed.push(id)), removed, calls };
}

test("a delete waits six seconds and can be undone until then", async () => {
  const { sessions, calls } = listing();
  await sessions.read();
  sessions.remove(session("a"));
  expect(sessions.shown.map(({ id }) => id)).toEqual(["b"]);
  await vi.advanceTimersByTimeAsync(5_900);
  sessions.undo();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(sessions.shown).toHaveLength(2);
  expect(calls).toEqual([]);
});

test("a second delete carries out the first", async () => {
  const { sessions, calls, removed } = listing();
  await sessions.read();
  sessions.remove(session("a"));
  sessions.remove(session("b"));
  await vi.advanceTimersByTimeAsync(0);
  expect([calls, removed]).toEqual([["a"], ["a"]]);
  await vi.advanceTimersByTimeAsync(6_000);
  expect(removed).toEqual(["a", "b"]);
});

test("a delete that fails brings the conversation back", async () => {
  const { sessions } = listing(() => Promise.reject(new ApiError(503, "DATABASE_ERROR", "")));
  await sessions.read();
  sessions.remove(session("a"));
  await vi.advanceTimersByTimeAsync(6_000);
  expect(sessions.shown).toHaveLength(2);
});
