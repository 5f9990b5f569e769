import type { ReactiveControllerHost } from "lit";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { locale } from "../src/i18n/locale";
import { Bell } from "../src/staff/bell";
import { Canned, type Reply } from "../src/staff/canned";
import type { Page, StaffApi } from "../src/staff/api";
import type { StaffSession } from "../src/staff/frames";
import { de } from "../src/staff/i18n/de";
import { en, type StaffKey } from "../src/staff/i18n/en";
import { lasting, timer } from "../src/staff/lasting";
import { EVERYTHING, filterCount, readQuery, wireQuery, writeQuery } from "../src/staff/list-query";
import { Live } from "../src/staff/live";
import { Pace } from "../src/staff/pace";
import { readPlace, START, writePlace } from "../src/staff/place";
import { Queue } from "../src/staff/queue";
import { Records } from "../src/staff/records";
import { bounds, stepOf } from "../src/staff/report";
import { Refused } from "../src/staff/requests";
import { MemoryStore } from "../src/storage";
import { Shortcuts } from "../src/ui/shortcuts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  locale.use("en");
});

const session = (id: string, more: Partial<StaffSession> = {}): StaffSession => ({ id, user_id: `user-${id}`, ...more }) as StaffSession;

test("every text of the desk is there in every language, with the same places to fill", () => {
  const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const key of Object.keys(en) as StaffKey[]) {
    expect(de[key], key).toBeTruthy();
    expect(places(de[key]), key).toEqual(places(en[key]));
  }
});

test("the list's filters are kept in the address, and what it says wrongly counts for nothing", () => {
  const asked = { ...EVERYTHING, user_id: "a&b", status: "ended" as const, help_requested: "true" as const, from: "2026-11-01", offset: 50, limit: 50 };
  const params = new URLSearchParams("lang=de");
  writeQuery(asked, params);
  expect(params.get("lang")).toBe("de");
  expect(readQuery(params)).toEqual(asked);
  expect(filterCount(asked)).toBe(4);
  writeQuery(EVERYTHING, params);
  expect(params.toString()).toBe("lang=de");
  const wrong = "status=maybe&sort_by=age&offset=-3&limit=7&from=yesterday&to=2026-13-40&sort_order=up&help_requested=1";
  expect(readQuery(new URLSearchParams(wrong))).toEqual(EVERYTHING);
});

test("the server is asked with the names and times of its own list", () => {
  const asked = wireQuery({ ...EVERYTHING, user_id: "u", from: "2026-11-01", to: "2026-11-02" });
  expect(asked).toMatchObject({ user_id: "u", sort_by: "last_activity", sort_order: "desc", limit: "25", offset: "0" });
  expect(asked).not.toHaveProperty("status");
  expect(Date.parse(asked.start_time_to!) - Date.parse(asked.start_time_from!)).toBe(2 * 86_400_000 - 1);
});

test("days that were given the wrong way round are asked for the right way round", () => {
  const asked = wireQuery({ ...EVERYTHING, from: "2026-11-02", to: "2026-11-01" });
  expect(asked).toEqual(wireQuery({ ...EVERYTHING, from: "2026-11-01", to: "2026-11-02" }));
});

function pressed(field: HTMLElement, init: KeyboardEventInit): boolean {
  const event = new KeyboardEvent("keydown", { altKey: true, bubbles: true, composed: true, cancelable: true, ...init });
  field.dispatchEvent(event);
  return event.defaultPrevented;
}

test("a key does its work once however long it is held, and never takes a character from the text", () => {
  const act = vi.fn();
  const keys = new Shortcuts({ addController: () => undefined } as unknown as ReactiveControllerHost, { KeyL: act });
  keys.hostConnected();
  const field = document.body.appendChild(document.createElement("textarea"));
  expect(pressed(field, { code: "KeyL", key: "l" })).toBe(true);
  expect(pressed(field, { code: "KeyL", key: "l", repeat: true })).toBe(true);
  expect(act).toHaveBeenCalledOnce();
  expect(pressed(field, { code: "KeyL", key: "@" })).toBe(false);
  expect(act).toHaveBeenCalledOnce();
  keys.hostDisconnected();
});

test("the address leads back to the open conversations and the one in front", () => {
  const place = { ...START, view: "metrics" as const, open: ["a", "b/ü"], at: "b/ü", period: { span: "week" as const } };
  expect(readPlace(writePlace(place, "?lang=de"), null)).toEqual(place);
  expect(writePlace(START, "")).toBe("");
});

test("a link in an alert opens its conversation beside the others", () => {
  expect(readPlace("?open=a&at=a", "b")).toMatchObject({ view: "conversations", open: ["a", "b"], at: "b" });
  expect(readPlace("?open=a&at=gone", null)).toMatchObject({ open: ["a"], at: null });
});

test("only those who were not in the queue before are news", () => {
  const queue = new Queue();
  const [ann, ben] = [session("ann", { help_since: "t1" }), session("ben", { help_since: "t2" })];
  expect(queue.take({ type: "help_update", sessions: [ann], total: 1 })).toEqual([ann]);
  expect(queue.take({ type: "help_update", sessions: [ann, ben], total: 2 })).toEqual([ben]);
  expect(queue.take({ type: "help_update", sessions: [ben], total: 1 })).toEqual([]);
  const again = session("ben", { help_since: "t3" });
  expect(queue.take({ type: "help_update", sessions: [again], total: 1 })).toEqual([again]);
});

test("no more than twenty frames leave in any second, and none is lost", async () => {
  const sent: number[] = [];
  const pace = new Pace(() => sent.push(Date.now()));
  for (let count = 0; count < 60; count++) pace.push({ type: "watch" });
  await vi.advanceTimersByTimeAsync(20_000);
  expect(sent).toHaveLength(60);
  for (const from of sent) expect(sent.filter((at) => at >= from && at < from + 1_000).length).toBeLessThan(20);
  pace.stop();
});

test("what may have changed is asked again, but not all the time", async () => {
  let asked = 0;
  const live = new Live("", () => Promise.resolve(++asked), () => undefined, 2_000);
  await live.read();
  for (let count = 0; count < 50; count++) {
    live.refresh();
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(asked).toBeGreaterThanOrEqual(3);
  expect(asked).toBeLessThanOrEqual(4);
  live.stop();
});

test("what changes while it is being read is read once more", async () => {
  const answers: ((value: string) => void)[] = [];
  const live = new Live("", () => new Promise<string>((resolve) => answers.push(resolve)), () => undefined, 0);
  void live.read();
  live.refresh();
  answers[0]!("before the change");
  await vi.advanceTimersByTimeAsync(10);
  expect(answers).toHaveLength(2);
});

test("an answer to an older question is of no use", async () => {
  const answers: ((value: string) => void)[] = [];
  const live = new Live("first", () => new Promise<string>((resolve) => answers.push(resolve)), () => undefined, 0);
  void live.read();
  live.want("second");
  answers[1]!("to the second");
  answers[0]!("to the first");
  await vi.advanceTimersByTimeAsync(0);
  expect(live.value).toBe("to the second");
});

test("who is asked to wait asks again by themselves, and what was read stays", async () => {
  const answers: (() => Promise<string>)[] = [() => Promise.resolve("old"), () => Promise.reject(new Refused("TOO_MANY_REQUESTS", 3_000)), () => Promise.resolve("new")];
  const live = new Live("", () => answers.shift()!(), () => undefined, 0);
  await live.read();
  await live.read();
  expect([live.state, live.value, live.problem]).toEqual(["read", "old", "TOO_MANY_REQUESTS"]);
  await vi.advanceTimersByTimeAsync(3_000);
  expect([live.value, live.problem]).toEqual(["new", null]);
});

test("a period that lasts until now has steps that fit, and ends now", () => {
  const now = Date.parse("2026-11-21T12:00:00Z");
  expect(bounds({ span: "hour" }, now)).toEqual({ start: now - 3_600_000, end: now });
  expect(bounds({ from: "2026-11-01", to: "2099-01-01" }, now).end).toBe(now);
  for (const length of [3_600_000, 86_400_000, 30 * 86_400_000]) expect(length / stepOf(length)).toBeLessThanOrEqual(150);
});

test("how long something lasts is told as a clock does", () => {
  expect([timer(5), timer(245), timer(3_723)]).toEqual(["0:05", "4:05", "1:02:03"]);
  const now = Date.parse("2026-11-21T12:00:00Z");
  expect(lasting("2026-11-21T11:59:00Z", now)).toBe("1:00");
  expect([lasting(null, now), lasting("2026-11-21T12:00:09Z", now)]).toEqual(["", "0:00"]);
});

test("replies are found by their words, and name the user", async () => {
  const replies: Reply[] = [{ id: "1", title: "Hello", text: "Hello {name}, {name}!" }, { id: "2", title: "Bye", text: "Have a good day" }];
  const canned = new Canned({ canned: () => Promise.resolve(replies) } as unknown as StaffApi, () => undefined);
  canned.want();
  await vi.advanceTimersByTimeAsync(0);
  expect(canned.find("DAY good").map(({ id }) => id)).toEqual(["2"]);
  expect(canned.find("")).toHaveLength(2);
  expect(canned.filled(replies[0]!, "$& Ann")).toBe("Hello $& Ann, $& Ann!");
});

class SilentAudio {
  state = "suspended";
  currentTime = 0;
  destination = {};
  tones = 0;
  resume(): Promise<void> {
    this.state = "running";
    return Promise.resolve();
  }
  createOscillator(): object {
    this.tones++;
    return { frequency: {}, connect: (to: object) => to, start: () => undefined, stop: () => undefined };
  }
  createGain(): object {
    const change = (): void => undefined;
    return { gain: { setValueAtTime: change, linearRampToValueAtTime: change, exponentialRampToValueAtTime: change }, connect: (to: object) => to };
  }
}

test("the bell rings only after a gesture, once for those who come together, and not when it is muted", async () => {
  const [audio, store] = [new SilentAudio(), new MemoryStore()];
  const bell = new Bell(window, store, () => undefined, () => audio as unknown as AudioContext);
  bell.ring();
  expect(audio.tones).toBe(0);
  window.dispatchEvent(new Event("pointerdown"));
  await vi.advanceTimersByTimeAsync(0);
  bell.ring();
  bell.ring();
  expect(audio.tones).toBe(2);
  bell.toggle();
  await vi.advanceTimersByTimeAsync(5_000);
  bell.ring();
  expect(audio.tones).toBe(2);
  expect(new Bell(window, store, () => undefined).muted).toBe(true);
});

test("records are read page by page; a page that fails says so, is read when there is room, and hides nothing", async () => {
  const answers: (Page<number> | Error)[] = [
    { items: [5, 4], next: "3" },
    new Refused("TOO_MANY_REQUESTS", 2_000),
    { items: [3, 2], next: "1" },
    new Refused("UNREACHABLE"),
    { items: [6, 5], next: null },
  ];
  const asked: (string | null)[] = [];
  const records = new Records<number>(
    (cursor) => {
      asked.push(cursor);
      const answer = answers.shift()!;
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    () => undefined,
  );
  await records.show();
  await records.readMore();
  expect(records).toMatchObject({ items: [5, 4], missed: "TOO_MANY_REQUESTS", problem: null, hasMore: true });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(records).toMatchObject({ items: [5, 4, 3, 2], missed: null });
  await records.readMore();
  expect(records).toMatchObject({ items: [5, 4, 3, 2], missed: "UNREACHABLE" });
  await records.show();
  expect(records).toMatchObject({ items: [6, 5], missed: null, hasMore: false });
  expect(asked).toEqual([null, "3", "3", "1", null]);
});
