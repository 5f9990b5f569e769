import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Api, History } from "../src/api";
import { Chat } from "../src/chat/chat";
import { MemoryStore } from "../src/storage";
import type { Frame } from "../src/wire/frames";
import { FakeSocket } from "./sockets";

const STEP = 1 << 20;

let store: MemoryStore;
let histories: Record<string, History>;
let named: string[];
let refusals: boolean[];
let chats: Chat[];

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  [store, histories, named, refusals, chats] = [new MemoryStore(), {}, [], [], []];
});

afterEach(() => {
  for (const chat of chats) chat.close();
  vi.useRealTimers();
});

const stored = (id: string): Promise<History> => (histories[id] ? Promise.resolve(histories[id]) : Promise.reject(new Error("none")));

function newChat(userId = "u", read = stored): Chat {
  const api = { probe: () => Promise.resolve(null), history: read } as unknown as Api;
  const chat = new Chat({
    api,
    store,
    userId,
    needToken: (refused) => refusals.push(refused),
    changed: () => undefined,
    named: (id) => named.push(id),
    activity: () => undefined,
    soon: (run) => run(),
    around: {
      url: (place, client) => {
        const url = new URL("ws://host/ws");
        url.searchParams.set("client", client);
        for (const [key, value] of Object.entries(place)) if (value !== null) url.searchParams.set(key, String(value));
        return url.href;
      },
      token: () => "jwt",
      open: FakeSocket.open,
      random: () => 0.5,
      heartbeat: { every: 20_000, waiting: 5_000, patience: 10_000 },
    },
  });
  chats.push(chat);
  return chat;
}

function history(id: string, count: number): History {
  const messages = Array.from({ length: count }, (_, index) => ({
    message_id: `m${index + 1}`,
    seq: (index + 1) * STEP,
    content: `text ${index + 1}`,
    timestamp: "2026-11-21T10:00:00Z",
    sender: "user" as const,
  }));
  return { session_id: id, name: "Named", messages, epoch: "e1", seq: count * STEP, before: null };
}

const settle = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const texts = (chat: Chat): string[] => chat.log.messages.map((message) => message.content);
const sentIds = (socket: FakeSocket, type = "user_message"): (string | undefined)[] =>
  socket.sent.filter((frame) => frame.type === type).map((frame) => frame.message_id);

function piece(n: number, content: string, more: Partial<Frame> = {}): Frame {
  return { type: "ai_response", message_id: "a1", seq: n, content, metadata: { streaming: "true", done: "false" }, ...more };
}

const done = (n: number, metadata: Record<string, string> = {}): Frame =>
  piece(n, "", { metadata: { streaming: "true", done: "true", finish_reason: "stop", ...metadata } });

test("an empty session needs no history", async () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept();
  expect([chat.reading, named]).toEqual(["read", ["s1"]]);
});

test("history is read and what the socket says meanwhile is kept, each once", async () => {
  histories.s1 = history("s1", 3);
  const chat = newChat();
  chat.open("s1");
  FakeSocket.last.accept({ seq: 2 * STEP });
  FakeSocket.last.say({ type: "user_message", message_id: "m3", seq: 3 * STEP, prev: 2 * STEP, content: "text 3", sender: "user" });
  FakeSocket.last.say(piece(3 * STEP + 1, "growing"));
  await settle();
  expect(texts(chat)).toEqual(["text 1", "text 2", "text 3", "growing"]);
  expect(chat.facts.name).toBe("Named");
});

test("a message is shown at once, sent, and settled by its ack", () => {
  const chat = newChat();
  chat.open(null);
  const socket = FakeSocket.last.accept();
  chat.say("hello");
  expect(chat.log.messages[0]?.state).toBe("sending");
  socket.say({ type: "ack", message_id: sentIds(socket)[0]!, seq: STEP, prev: 0 });
  expect(chat.log.messages[0]).toMatchObject({ state: "done", seq: STEP });
});

test("pieces are joined, and done ends them", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say({ type: "loading", message_id: "a1" });
  expect(chat.answering).toBe(true);
  FakeSocket.last.say(piece(1, "Hel")).say(piece(2, "lo")).say(done(STEP, {}));
  expect(chat.answering).toBe(true);
  FakeSocket.last.say({ ...done(STEP), prev: 2 });
  expect(FakeSocket.all).toHaveLength(2);
});

test("a stream without gaps ends in one finished answer", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "Hel")).say(piece(2, "lo")).say({ ...done(STEP), prev: 2 });
  expect(chat.log.messages).toHaveLength(1);
  expect(chat.log.messages[0]).toMatchObject({ content: "Hello", state: "done", metadata: { finish_reason: "stop" } });
  expect(chat.answering).toBe(false);
});

test("a gap resumes from the last position", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "a")).say(piece(3, "c"));
  expect(FakeSocket.all).toHaveLength(2);
  const { query } = FakeSocket.last;
  expect([query.get("sessionId"), query.get("epoch"), query.get("lastSeq")]).toEqual(["s1", "e1", "1"]);
  FakeSocket.last.accept({ seq: 1, metadata: { resumed: "true" } }).say(piece(3, "bc", { prev: 1 }));
  expect(texts(chat)).toEqual(["abc"]);
});

test("gaps that resuming does not mend lead to a fresh start, and the server is not hammered", async () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "a"));
  for (let round = 0; round < 4; round++) {
    FakeSocket.last.say(piece(9, "never fits"));
    expect(FakeSocket.all).toHaveLength(round < 1 ? 2 : round + 1);
    await settle(4_000);
    expect(texts(chat)).toEqual(["a"]);
    FakeSocket.last.accept({ metadata: { resumed: "true" } });
  }
  expect(FakeSocket.last.query.has("lastSeq")).toBe(false);
});

test("a piece that begins before the position joins what is here, or is asked for again", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "Once ")).say(piece(2, "upon ")).say(piece(4, "a time ", { prev: 2 }));
  FakeSocket.last.say(piece(5, "upon a time there", { prev: 1 }));
  expect(texts(chat)).toEqual(["Once upon a time there"]);
  expect(chat.log.messages[0]?.generation).toBe(0);
  FakeSocket.last.say(piece(6, "time there was", { prev: 3 }));
  expect([FakeSocket.all.length, FakeSocket.last.query.get("lastSeq")]).toEqual([2, "5"]);
});

test("another's message may cover positions that have been heard", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "a")).say(piece(2, "b"));
  FakeSocket.last.say({ type: "user_message", message_id: "o", seq: STEP, prev: 1, content: "theirs", sender: "user" });
  expect([texts(chat), FakeSocket.all.length]).toEqual([["ab", "theirs"], 1]);
});

test("an answer that is announced again while it is read brings no sign of waiting", () => {
  const chat = newChat();
  chat.open(null);
  const loading: Frame = { type: "loading", message_id: "a1" };
  FakeSocket.last.accept().say(loading).say(piece(1, "a")).say(loading);
  expect(chat.log.expected).toBeNull();
  FakeSocket.last.say({ ...done(STEP), prev: 1 }).say(loading);
  expect(chat.answering).toBe(false);
});

test("an answer that has ended stands where the log has it", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "answer"));
  FakeSocket.last.say({ type: "user_message", message_id: "o", seq: STEP, prev: 1, content: "theirs", sender: "user" });
  expect(texts(chat)).toEqual(["answer", "theirs"]);
  chat.say("not acknowledged");
  FakeSocket.last.say({ ...done(2 * STEP), prev: STEP });
  expect(texts(chat)).toEqual(["theirs", "answer", "not acknowledged"]);
});

test("draining: both sockets tell of the same answer, and it is here once", async () => {
  const chat = newChat();
  chat.open(null);
  const old = FakeSocket.last.accept().say({ type: "loading", message_id: "a1" }).say(piece(1, "It "));
  old.say({ type: "notification", metadata: { event: "drain", retry_after: "100" } });
  await settle(100);
  const next = FakeSocket.last;
  expect([next.query.get("lastSeq"), next.query.get("client")]).toEqual(["1", old.query.get("client")]);
  chat.say("sent on the old one");
  old.say(piece(2, "goes ")).say(piece(3, "on "));
  next.accept({ seq: 1, metadata: { resumed: "true" } });
  expect(sentIds(next)).toEqual(sentIds(old));
  next.say(piece(4, "goes on and ", { prev: 1 })).say(piece(5, "on"));
  next.say({ type: "ack", message_id: sentIds(old)[0]!, seq: STEP, prev: 5 });
  expect(texts(chat)).toEqual(["It goes on and on", "sent on the old one"]);
  expect(chat.log.messages[0]?.generation).toBe(0);
});

test("what is shown stays until the conversation has been read again", async () => {
  histories.s1 = history("s1", 3);
  const chat = newChat();
  chat.open("s1");
  FakeSocket.last.accept({ seq: 3 * STEP });
  await settle();
  FakeSocket.last.say(piece(3 * STEP + 1, "half an "));
  FakeSocket.last.end();
  await settle(1_000);
  const later = history("s1", 2);
  histories.s1 = undefined!;
  FakeSocket.last.accept({ seq: 2 * STEP, metadata: { resumed: "false", reason: "unknown" } });
  await settle();
  expect(chat.reading).toBe("failed");
  expect(texts(chat)).toEqual(["text 1", "text 2", "text 3", "half an "]);
  FakeSocket.last.say({ type: "loading", message_id: "a1" }).say(piece(2 * STEP + 1, "half an answer"));
  expect(texts(chat).at(-1)).toBe("half an answer");
  histories.s1 = later;
  await settle(2_000);
  expect(texts(chat)).toEqual(["text 1", "text 2", "half an answer"]);
  expect(chat.log.messages.map(({ generation }) => generation)).toEqual([0, 0, 0]);
});

test("a history that the broken line kept from coming is read after the reconnect", async () => {
  const chat = newChat();
  chat.open("s1");
  FakeSocket.last.accept({ seq: STEP });
  await settle();
  expect(chat.reading).toBe("failed");
  FakeSocket.last.end();
  await settle(400);
  histories.s1 = history("s1", 1);
  FakeSocket.last.accept({ seq: STEP, metadata: { resumed: "true" } });
  await settle();
  expect([chat.reading, texts(chat)]).toEqual(["read", ["text 1"]]);
});

test("the history of a conversation that was left is not shown in the next one", async () => {
  const answers: ((history: History) => void)[] = [];
  const chat = newChat(undefined, () => new Promise((resolve) => answers.push(resolve)));
  chat.open("s1");
  FakeSocket.last.accept({ seq: STEP });
  chat.open("s2");
  FakeSocket.last.accept({ session_id: "s2", seq: STEP });
  answers[0]!(history("s1", 1));
  await settle();
  expect([chat.reading, texts(chat)]).toEqual(["reading", []]);
  answers[1]!(history("s2", 2));
  await settle();
  expect(texts(chat)).toEqual(["text 1", "text 2"]);
});

test("what was heard before is not heard again", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "once")).say(piece(1, "once"));
  expect(texts(chat)).toEqual(["once"]);
});

test("a whole answer replaces the pieces", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "partial answ"));
  FakeSocket.last.say({ type: "ai_response", message_id: "a1", seq: STEP, prev: 1, content: "other", metadata: { finish_reason: "interrupted" } });
  expect(chat.log.messages[0]).toMatchObject({ content: "other", state: "done", generation: 1 });
});

test("an unacknowledged message is sent again under its id after a reconnect", async () => {
  const chat = newChat();
  chat.open(null);
  const first = FakeSocket.last.accept();
  chat.say("hello");
  first.end();
  await settle(1_000);
  const second = FakeSocket.last.accept({ metadata: { resumed: "true" } });
  expect(sentIds(second)).toEqual(sentIds(first));
  second.say({ type: "ack", message_id: sentIds(second)[0]!, seq: STEP, prev: 0 });
  expect(chat.log.messages).toHaveLength(1);
});

test("an acknowledgement that was lost comes as the message itself, and a repeated ack changes nothing", async () => {
  const chat = newChat();
  chat.open(null);
  const first = FakeSocket.last.accept();
  chat.say("hello");
  const id = sentIds(first)[0]!;
  first.end();
  await settle(1_000);
  FakeSocket.last
    .accept({ metadata: { resumed: "true" } })
    .say({ type: "user_message", message_id: id, seq: STEP, prev: 0, content: "hello", sender: "user" })
    .say({ type: "ack", message_id: id, seq: STEP });
  expect(chat.log.messages).toHaveLength(1);
  expect(chat.log.messages[0]?.state).toBe("done");
  FakeSocket.last.end();
  await settle(5_000);
  expect(sentIds(FakeSocket.last.accept({ seq: STEP, metadata: { resumed: "true" } }))).toEqual([]);
});

test("messages written without a connection go out in order, after the reload of the page too", async () => {
  const before = newChat();
  before.open(null);
  FakeSocket.last.accept();
  FakeSocket.last.end();
  before.say("one");
  before.say("two");
  before.close();

  const after = newChat();
  after.open(null);
  expect(FakeSocket.last.query.get("sessionId")).toBe("s1");
  const socket = FakeSocket.last.accept();
  expect(socket.sent.map((frame) => frame.content)).toEqual(["one", "two"]);
  expect(texts(after)).toEqual(["one", "two"]);
});

test("another user of the same tab never sends them", () => {
  const before = newChat("ada");
  before.open(null);
  before.say("private");
  before.close();
  const other = newChat("grace");
  other.open(null);
  expect(FakeSocket.last.accept().sent).toEqual([]);
});

test("a message written before the first session is named goes to that session", () => {
  const chat = newChat();
  chat.open(null);
  chat.say("early");
  expect(FakeSocket.last.accept().sent.map((frame) => frame.content)).toEqual(["early"]);
});

test("a message written during the handshake does not overtake those that wait", async () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().end();
  chat.say("one");
  await settle(1_000);
  FakeSocket.last.readyState = 1;
  FakeSocket.last.onopen?.();
  chat.say("two");
  const socket = FakeSocket.last.accept({ metadata: { resumed: "true" } });
  expect(socket.sent.map((frame) => frame.content)).toEqual(["one", "two"]);
});

test("a refusal is shown at its message, which can be sent again as a new one", () => {
  const chat = newChat();
  chat.open(null);
  const socket = FakeSocket.last.accept();
  chat.say("hello");
  const [id] = sentIds(socket);
  socket.say({ type: "error", message_id: id!, error: { code: "CONFLICT", message: "" } });
  const failed = chat.log.messages[0]!;
  expect(failed).toMatchObject({ state: "failed", problem: "CONFLICT" });
  chat.retry(failed);
  expect(sentIds(socket)[1]).not.toBe(id);
  expect(chat.log.messages).toHaveLength(1);
});

test("what the server can't take now is sent again later under the same id", async () => {
  const chat = newChat();
  chat.open(null);
  const socket = FakeSocket.last.accept();
  chat.say("hello");
  const [id] = sentIds(socket);
  socket.say({ type: "error", message_id: id!, error: { code: "TOO_MANY_REQUESTS", message: "", retry_after: 2_000 } });
  await settle(1_900);
  expect(sentIds(socket)).toHaveLength(1);
  await settle(200);
  expect(sentIds(socket)).toEqual([id, id]);
});

test("a command without a connection is refused and not kept", () => {
  const chat = newChat();
  chat.open(null);
  chat.askForHelp();
  expect(chat.problem).toBe("UNREACHABLE");
  expect(FakeSocket.last.accept().sent).toEqual([]);
});

test("a model that could not be chosen is not shown as chosen", async () => {
  const chat = newChat();
  chat.open(null);
  const first = FakeSocket.last.accept({ metadata: { resumed: "false", model_id: "small" } });
  chat.selectModel("large");
  expect(chat.modelId).toBe("large");
  const [id] = sentIds(first, "model_select");
  first.say({ type: "error", message_id: id!, error: { code: "NOT_FOUND", message: "" } });
  expect([chat.modelId, chat.problem]).toEqual(["small", "NOT_FOUND"]);
  first.end();
  chat.selectModel("large");
  expect([chat.modelId, chat.problem]).toEqual(["small", "UNREACHABLE"]);
  await settle(1_000);
  expect(FakeSocket.last.accept({ metadata: { resumed: "true", model_id: "small" } }).sent).toEqual([]);
});

test("a chosen model stays chosen while the choice is on its way, over a reconnect too", async () => {
  const chat = newChat();
  chat.open(null);
  const first = FakeSocket.last.accept({ metadata: { resumed: "false", model_id: "small" } });
  chat.selectModel("large");
  first.end();
  await settle(1_000);
  const second = FakeSocket.last.accept({ metadata: { resumed: "true", model_id: "small" } });
  expect([chat.modelId, sentIds(second, "model_select")]).toEqual(["large", sentIds(first, "model_select")]);
  second.say({ type: "ack", message_id: sentIds(second, "model_select")[0]!, seq: STEP, prev: 0 });
  expect([chat.modelId, chat.facts.modelId]).toEqual(["large", "large"]);
});

test("stop names the running answer", () => {
  const chat = newChat();
  chat.open(null);
  const socket = FakeSocket.last.accept().say(piece(1, "a"));
  chat.stop();
  expect(socket.sent[0]).toMatchObject({ type: "stop", metadata: { target: "a1" } });
});

test("an answer that replaces another hides it and knows it", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say(piece(1, "old")).say({ ...done(STEP), prev: 1 });
  FakeSocket.last.say({ type: "loading", message_id: "a2", metadata: { replaces: "a1" } });
  FakeSocket.last.say(piece(STEP + 1, "new", { message_id: "a2" }));
  const [old, fresh] = chat.log.messages;
  expect(old?.superseded).toBe(true);
  expect(chat.log.earlier(fresh!)).toEqual([old]);
});

test("the events of the log set what is true of the session", () => {
  const chat = newChat();
  chat.open(null);
  const event = (n: number, metadata: Record<string, string>): Frame => ({
    type: "notification",
    message_id: `n${n}`,
    seq: n * STEP,
    prev: (n - 1) * STEP,
    metadata,
  });
  FakeSocket.last
    .accept()
    .say(event(1, { event: "session_renamed", name: "Fresh" }))
    .say(event(2, { event: "model_changed", model_id: "m2" }))
    .say(event(3, { event: "help_state", state: "asked" }))
    .say({ type: "admin_join", message_id: "j", seq: 4 * STEP, prev: 3 * STEP, metadata: { admin_name: "Kim" } });
  expect(chat.facts).toMatchObject({ name: "Fresh", modelId: "m2", help: "joined", staffName: "Kim" });
  expect(chat.log.messages.map((message) => message.kind)).toEqual(["event", "event", "event", "event"]);
});

test("a position that the server has lost reads everything again", async () => {
  histories.s1 = history("s1", 2);
  const chat = newChat();
  chat.open("s1");
  FakeSocket.last.accept({ seq: 2 * STEP });
  await settle();
  FakeSocket.last.end();
  histories.s1 = { ...history("s1", 1), epoch: "e2" };
  await settle(1_000);
  FakeSocket.last.accept({ seq: STEP, epoch: "e2", metadata: { resumed: "false", reason: "epoch" } });
  await settle();
  expect(texts(chat)).toEqual(["text 1"]);
  expect(chat.log.epoch).toBe("e2");
});

test("a session that does not exist hands its unsent messages to the one that is named", () => {
  const chat = newChat();
  chat.open("gone");
  chat.say("hello");
  const socket = FakeSocket.last.accept({ session_id: "s2" });
  expect(socket.sent.map((frame) => frame.content)).toEqual(["hello"]);
  expect(named).toEqual(["s2"]);
});

test("frames of another session are not for this page", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say({ ...piece(1, "x"), session_id: "other" });
  expect(texts(chat)).toEqual([]);
});

test("what is not acknowledged stays last", () => {
  const chat = newChat();
  chat.open(null);
  const socket = FakeSocket.last.accept();
  chat.say("mine");
  socket.say({ type: "user_message", message_id: "o", seq: STEP, prev: 0, content: "theirs", sender: "user" });
  expect(texts(chat)).toEqual(["theirs", "mine"]);
});

test("an expiring token is asked for, and a refused one is told as such", () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept().say({ type: "notification", metadata: { event: "token_expiring" } });
  FakeSocket.last.end(4401);
  expect(refusals).toEqual([false, true]);
});

test("a frame that is too big is given up, not repeated for ever", async () => {
  const chat = newChat();
  chat.open(null);
  FakeSocket.last.accept();
  chat.say("big");
  FakeSocket.last.end(1009);
  expect(chat.log.messages[0]).toMatchObject({ state: "failed", problem: "too_big" });
  await settle(2_000);
  expect(FakeSocket.last.accept({ metadata: { resumed: "true" } }).sent).toEqual([]);
});
