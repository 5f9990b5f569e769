import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { StoredMessage } from "../src/api";
import type { Conversation } from "../src/staff/conversation";
import { Desk } from "../src/staff/desk";
import { eventText } from "../src/staff/event-text";
import type { StaffFrame, StaffSession } from "../src/staff/frames";
import { MemoryStore } from "../src/storage";
import { FakeSocket } from "./sockets";

const STEP = 1 << 20;

let store: MemoryStore;
let desks: Desk[];
let called: string[];

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  [store, desks, called] = [new MemoryStore(), [], []];
});

afterEach(() => {
  for (const desk of desks) desk.close();
  vi.useRealTimers();
});

function newDesk(): Desk {
  const desk = new Desk({
    me: { id: "bea", name: "Bea" },
    store,
    needToken: () => undefined,
    changed: () => undefined,
    called: (sessions) => called.push(...sessions.map(({ id }) => id)),
    probe: () => Promise.resolve(null),
    soon: (run) => run(),
    around: {
      url: () => "ws://host/admin/ws",
      token: () => "jwt",
      open: FakeSocket.open,
      random: () => 0.5,
      heartbeat: { every: 20_000, waiting: 5_000, patience: 10_000 },
    },
  });
  desks.push(desk);
  return desk;
}

const session = (id: string, more: Partial<StaffSession> = {}): StaffSession =>
  ({ id, user_id: `user-${id}`, user_name: id, help_state: "none", ...more }) as StaffSession;

const stored = (index: number, more: Partial<StoredMessage> = {}): StoredMessage => ({
  message_id: `m${index}`,
  seq: index * STEP,
  content: `text ${index}`,
  timestamp: "2026-11-21T10:00:00Z",
  sender: "user",
  ...more,
});

function greet(more: Partial<StaffFrame> = {}): FakeSocket {
  const socket = FakeSocket.last;
  socket.readyState = 1;
  socket.onopen?.();
  return socket.say({ type: "staff_status", user_id: "bea", metadata: { role: "admin" }, staff: [], sessions: [], total: 0, ...more } as StaffFrame);
}

function asked(socket: FakeSocket, type: string): StaffFrame[] {
  return socket.sent.filter((frame) => frame.type === type);
}

/** A desk with one watched conversation that has two messages. */
function watching(more: Partial<StaffFrame> = {}): { desk: Desk; socket: FakeSocket; conversation: Conversation } {
  const desk = newDesk();
  desk.start();
  const socket = greet();
  desk.open(["s1"]);
  answer(socket, more);
  return { desk, socket, conversation: desk.conversations.get("s1")! };
}

function answer(socket: FakeSocket, more: Partial<StaffFrame> = {}): void {
  const watch = asked(socket, "watch").at(-1)!;
  const status: StaffFrame = {
    type: "connection_status",
    session_id: "s1",
    message_id: watch.message_id!,
    epoch: "e1",
    seq: 2 * STEP,
    session: session("s1"),
    messages: [stored(1), stored(2, { sender: "ai" })],
    metadata: { resumed: "false" },
    ...more,
  };
  socket.say(status);
}

const shown = ({ log }: Conversation): string[] => log.messages.map(({ content }) => content);

test("a conversation is watched, with what is stored and what comes", () => {
  const { socket, conversation } = watching();
  expect(shown(conversation)).toEqual(["text 1", "text 2"]);
  socket.say({ type: "loading", session_id: "s1", message_id: "a1" });
  socket.say({ type: "ai_response", session_id: "s1", message_id: "a1", seq: 3 * STEP + 1, prev: 2 * STEP, content: "and ", metadata: { streaming: "true", done: "false" } });
  expect(conversation.log.streaming?.content).toBe("and ");
});

test("after a lost line every open conversation is watched from where it was", async () => {
  const { desk, socket } = watching();
  socket.say({ type: "user_message", session_id: "s1", message_id: "m3", seq: 3 * STEP, prev: 2 * STEP, content: "more", sender: "user" });
  socket.end(1006);
  await vi.advanceTimersByTimeAsync(60_000);
  const next = greet();
  expect(asked(next, "watch")).toMatchObject([{ session_id: "s1", epoch: "e1", last_seq: 3 * STEP }]);
  answer(next, { seq: 3 * STEP, messages: undefined as never, metadata: { resumed: "true" } });
  expect(shown(desk.conversations.get("s1")!)).toEqual(["text 1", "text 2", "more"]);
});

test("a desk moves to another server before its own drains, and watches on from where it was", async () => {
  const { desk, socket } = watching();
  socket.say({ type: "notification", metadata: { event: "drain", retry_after: "0" } });
  await vi.advanceTimersByTimeAsync(10);
  expect(FakeSocket.all).toHaveLength(2);
  socket.say({ type: "user_message", session_id: "s1", message_id: "m3", seq: 3 * STEP, prev: 2 * STEP, content: "meanwhile", sender: "user" });
  const next = greet();
  expect(asked(next, "watch")).toMatchObject([{ session_id: "s1", last_seq: 3 * STEP }]);
  expect(desk.link.is).toBe("open");
});

test("a gap is mended by watching again, and what was there is not doubled", () => {
  const { socket, conversation } = watching();
  socket.say({ type: "user_message", session_id: "s1", message_id: "m9", seq: 9 * STEP, prev: 8 * STEP, content: "late", sender: "user" });
  expect(asked(socket, "watch")).toHaveLength(2);
  answer(socket, { seq: 9 * STEP, messages: [stored(8), stored(9)] });
  expect(shown(conversation)).toEqual(["text 8", "text 9"]);
});

test("forty conversations are watched again without more frames than the server takes", async () => {
  const desk = newDesk();
  desk.start();
  const socket = greet();
  desk.open(Array.from({ length: 40 }, (_, index) => `s${index}`));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(socket.sent.length).toBeLessThanOrEqual(20);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(new Set(asked(socket, "watch").map((frame) => frame.session_id)).size).toBe(40);
});

test("a takeover holds from its acknowledgement on, and is shown in its place", () => {
  const { socket, conversation } = watching();
  conversation.takeOver();
  conversation.takeOver();
  const [join, ...others] = asked(socket, "admin_join");
  expect([others.length, conversation.held, conversation.moving]).toEqual([0, false, true]);
  socket.say({ type: "ack", session_id: "s1", message_id: join!.message_id!, seq: 3 * STEP, prev: 2 * STEP });
  expect([conversation.held, conversation.moving]).toEqual([true, false]);
  expect(eventText(conversation.log.messages.at(-1)!, "bea")).toBe("You took over. The AI is silent.");
  conversation.handBack();
  const leave = asked(socket, "admin_leave")[0]!;
  socket.say({ type: "ack", session_id: "s1", message_id: leave.message_id!, seq: 4 * STEP, prev: 3 * STEP });
  expect(conversation.holder).toBeNull();
});

test("who comes second is told, and no trace of the attempt stays", () => {
  const { socket, conversation } = watching();
  conversation.takeOver();
  const join = asked(socket, "admin_join")[0]!;
  socket.say({ type: "admin_join", session_id: "s1", message_id: "j", seq: 3 * STEP, prev: 2 * STEP, metadata: { admin_id: "cem", admin_name: "Cem" } });
  socket.say({ type: "error", session_id: "s1", message_id: join.message_id!, error: { code: "CONFLICT", message: "Cem has this conversation." } });
  expect(conversation).toMatchObject({ problem: "CONFLICT", holder: { id: "cem", name: "Cem" }, held: false, moving: false });
  expect(conversation.log.messages.map(({ id }) => id)).toEqual(["m1", "m2", "j"]);
});

test("news of the list do not change who has a conversation: the log does", () => {
  const { socket, conversation } = watching();
  socket.say({ type: "admin_join", session_id: "s1", message_id: "j", seq: 3 * STEP, prev: 2 * STEP, metadata: { admin_id: "cem", admin_name: "Cem" } });
  socket.say({ type: "session_update", session_id: "s1", session: session("s1"), last_seq: 2 * STEP } as StaffFrame);
  expect(conversation.holder?.name).toBe("Cem");
  expect(desks[0]!.conversations.get("s1")!.session?.user_name).toBe("s1");
});

test("what staff say is kept until it is acknowledged, and sent again after a lost line", async () => {
  const { socket, conversation } = watching({ session: session("s1", { assisting_admin_id: "bea", assisting_admin_name: "Bea" }) });
  conversation.say("hello");
  socket.end(1006);
  await vi.advanceTimersByTimeAsync(60_000);
  const next = greet();
  answer(next, { metadata: { resumed: "true" } });
  const [first, again] = [asked(socket, "user_message")[0]!, asked(next, "user_message")[0]!];
  expect(again).toMatchObject({ content: "hello", message_id: first.message_id });
  next.say({ type: "ack", session_id: "s1", message_id: again.message_id!, seq: 3 * STEP, prev: 2 * STEP });
  expect(conversation.log.messages.at(-1)).toMatchObject({ content: "hello", sender: "admin", state: "done", seq: 3 * STEP });
  expect(store.getItem("chatbox.staff.unsent.bea")).toBeNull();
});

test("words to a conversation that one does not have are shown as not sent", () => {
  const { socket, conversation } = watching();
  conversation.say("hello");
  const said = asked(socket, "user_message")[0]!;
  socket.say({ type: "error", session_id: "s1", message_id: said.message_id!, error: { code: "CONFLICT", message: "" } });
  expect(conversation.log.messages.at(-1)).toMatchObject({ state: "failed", problem: "CONFLICT" });
});

test("notes are told apart from words to the user, one's own and a colleague's, live and stored", () => {
  const note = stored(3, { sender: "admin", metadata: { event: "note", admin_id: "cem", admin_name: "Cem" } });
  const { socket, conversation } = watching({ seq: 3 * STEP, messages: [note] });
  conversation.note("mine");
  expect(asked(socket, "note")[0]).toMatchObject({ session_id: "s1", content: "mine" });
  expect(asked(socket, "user_message")).toEqual([]);
  socket.say({ type: "note", session_id: "s1", message_id: "n4", seq: 4 * STEP, prev: 3 * STEP, content: "theirs", sender: "admin", metadata: { admin_id: "cem" } });
  expect(conversation.log.messages.map(({ kind, sender }) => [kind, sender])).toEqual([["note", "admin"], ["note", "admin"], ["note", "admin"]]);
});

test("a note that was not acknowledged survives a reload, and stays a note", () => {
  watching().conversation.note("for us");
  const { socket, conversation } = watching();
  expect(conversation.log.messages.at(-1)).toMatchObject({ kind: "note", content: "for us", sender: "admin", state: "sending" });
  expect(asked(socket, "note")).toMatchObject([{ session_id: "s1", content: "for us" }]);
  expect(asked(socket, "user_message")).toEqual([]);
});

test("what is being written survives a reload, reply and note apart, until the conversation is deleted", () => {
  const { unfinished } = watching().conversation;
  unfinished.reply.text = "Dear Ann";
  unfinished.note.text = "she is angry";
  const { desk, socket, conversation } = watching();
  desk.open(["s1", "s2"]);
  const texts = (id: string): string[] => Object.values(desk.conversations.get(id)!.unfinished).map(({ text }) => text);
  expect([texts("s1"), texts("s2")]).toEqual([["Dear Ann", "she is angry"], ["", ""]]);
  socket.say({ type: "session_update", session_id: "s1", metadata: { deleted: "true" } });
  expect([conversation.deleted, texts("s1")]).toEqual([true, ["", ""]]);
});

test("the model's texts come piece by piece, and are sent by nobody but the reader", () => {
  const { socket, conversation } = watching();
  const { assistance } = conversation;
  assistance.ask("suggestion");
  const id = asked(socket, "suggest")[0]!.message_id!;
  const piece = (content: string, done: string): StaffFrame => ({ type: "suggestion", session_id: "s1", message_id: id, content, metadata: { done } });
  socket.say(piece("Try ", "false")).say(piece("this.", "false"));
  expect(assistance.suggestion).toEqual({ text: "Try this.", state: "writing" });
  socket.say(piece("", "true"));
  expect(assistance.suggestion).toEqual({ text: "Try this.", state: "done" });
  assistance.ask("suggestion");
  const other = asked(socket, "suggest")[1]!.message_id!;
  assistance.drop("suggestion");
  socket.say({ ...piece("late", "false"), message_id: other });
  expect(assistance.suggestion).toBeNull();
  expect(asked(socket, "user_message")).toEqual([]);
  expect(conversation.log.messages).toHaveLength(2);
});

test("a text that the model could not finish is no finished one", () => {
  const { socket, conversation } = watching();
  const { assistance } = conversation;
  assistance.ask("suggestion");
  socket.say({ type: "error", session_id: "s1", message_id: asked(socket, "suggest")[0]!.message_id!, error: { code: "LLM_UNAVAILABLE", message: "" } });
  expect(assistance.suggestion?.state).toBe("failed");
  assistance.ask("summary");
  socket.end(1006);
  expect(assistance.summary?.state).toBe("failed");
  expect(conversation.problem).toBeNull();
});

test("who takes a longer conversation over is told what it is about", () => {
  const messages = [1, 2, 3, 4].map((index) => stored(index));
  const { socket, conversation } = watching({ seq: 4 * STEP, messages });
  conversation.takeOver();
  const join = asked(socket, "admin_join")[0]!;
  socket.say({ type: "ack", session_id: "s1", message_id: join.message_id!, seq: 5 * STEP, prev: 4 * STEP });
  expect(asked(socket, "summarise")).toHaveLength(1);
});

test("a conversation that begins unasked does not take away what is shown", () => {
  const { socket, conversation } = watching();
  socket.say({ type: "connection_status", session_id: "s1", epoch: "e1", seq: 7 * STEP, metadata: { resumed: "false" } });
  expect(shown(conversation)).toEqual(["text 1", "text 2"]);
});

test("a command does not wait for a line that is not there", () => {
  const { socket, conversation } = watching();
  socket.end(1006);
  conversation.takeOver();
  expect(conversation).toMatchObject({ problem: "UNREACHABLE", moving: false });
  expect(conversation.log.messages).toHaveLength(2);
});

test("typing is told only by who has the conversation", () => {
  const { socket, conversation } = watching();
  conversation.typed();
  expect(asked(socket, "typing_indicator")).toEqual([]);
  socket.say({ type: "admin_join", session_id: "s1", message_id: "j", seq: 3 * STEP, prev: 2 * STEP, metadata: { admin_id: "bea", admin_name: "Bea" } });
  conversation.typed();
  conversation.typed();
  expect(asked(socket, "typing_indicator")).toHaveLength(1);
  socket.say({ type: "typing_indicator", session_id: "s1", sender: "user" });
  expect(conversation.othersType).toBe(true);
});

test("earlier messages are read in pages", async () => {
  const { socket, conversation } = watching({ before: STEP });
  void conversation.readEarlier();
  const question = asked(socket, "history")[0]!;
  expect(question).toMatchObject({ session_id: "s1", before: STEP });
  socket.say({ type: "history", session_id: "s1", message_id: question.message_id!, messages: [stored(0, { message_id: "m0" })] } as StaffFrame);
  await vi.advanceTimersByTimeAsync(0);
  expect(shown(conversation)).toEqual(["text 0", "text 1", "text 2"]);
  expect(conversation.log.before).toBeNull();
});

test("a conversation that does not exist is shown as gone, and is not asked for again", async () => {
  const desk = newDesk();
  desk.start();
  const socket = greet();
  desk.open(["none"]);
  const watch = asked(socket, "watch")[0]!;
  socket.say({ type: "error", session_id: "none", message_id: watch.message_id!, error: { code: "NOT_FOUND", message: "" } });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(desk.conversations.get("none")!.deleted).toBe(true);
  expect(asked(socket, "watch")).toHaveLength(1);
});

test("a watch that the server has no time for is sent again", async () => {
  const { socket, desk } = watching();
  desk.open(["s1", "s2"]);
  const watch = asked(socket, "watch").at(-1)!;
  socket.say({ type: "error", session_id: "s2", message_id: watch.message_id!, error: { code: "TOO_MANY_REQUESTS", message: "", retry_after: 1_000 } });
  await vi.advanceTimersByTimeAsync(1_500);
  expect(asked(socket, "watch").filter((frame) => frame.session_id === "s2")).toHaveLength(2);
});

test("calls for help are told once, also over a lost line", async () => {
  const desk = newDesk();
  desk.start();
  const waiting = session("s7", { help_since: "2026-11-21T10:00:00Z" });
  greet({ sessions: [waiting], total: 1 } as Partial<StaffFrame>).end(1006);
  await vi.advanceTimersByTimeAsync(60_000);
  greet({ sessions: [waiting], total: 1 } as Partial<StaffFrame>);
  expect(called).toEqual(["s7"]);
  expect(desk.queue.total).toBe(1);
});

test("the list changes in place at once, and is read again soon", async () => {
  const desk = newDesk();
  desk.start();
  const socket = greet();
  const list = (): StaffFrame => asked(socket, "list").at(-1)!;
  socket.say({ type: "session_list", message_id: list().message_id!, sessions: [session("s1", { name: "old" })], total: 1 } as StaffFrame);
  await vi.advanceTimersByTimeAsync(0);
  socket.say({ type: "session_update", session_id: "s1", session: session("s1", { name: "new" }), last_seq: 5, metadata: { preview: "hello" } } as StaffFrame);
  expect(desk.list.sessions[0]?.name).toBe("new");
  expect(desk.list.previews.get("s1")).toBe("hello");
  await vi.advanceTimersByTimeAsync(3_000);
  expect(asked(socket, "list").length).toBeGreaterThan(1);
});

test("no row moves under the reader's hand", async () => {
  const desk = newDesk();
  desk.start();
  const socket = greet();
  socket.say({ type: "session_list", message_id: asked(socket, "list")[0]!.message_id!, sessions: [], total: 0 } as StaffFrame);
  await vi.advanceTimersByTimeAsync(5_000);
  desk.list.hold();
  const before = asked(socket, "list").length;
  socket.say({ type: "session_update", session_id: "s2", session: session("s2"), last_seq: 5 } as StaffFrame);
  await vi.advanceTimersByTimeAsync(1_900);
  expect(asked(socket, "list")).toHaveLength(before);
  await vi.advanceTimersByTimeAsync(3_000);
  expect(asked(socket, "list").length).toBeGreaterThan(before);
});

test("the list is read again at once when news were lost", async () => {
  const desk = newDesk();
  desk.start();
  const socket = greet();
  socket.say({ type: "session_list", message_id: asked(socket, "list")[0]!.message_id!, sessions: [], total: 0 } as StaffFrame);
  await vi.advanceTimersByTimeAsync(5_000);
  const before = asked(socket, "list").length;
  socket.say({ type: "notification", metadata: { event: "news_lost" } } as StaffFrame);
  await vi.advanceTimersByTimeAsync(100);
  expect(asked(socket, "list")).toHaveLength(before + 1);
});

test("a deleted conversation leaves the list and says so where it is open", () => {
  const { desk, socket, conversation } = watching();
  socket.say({ type: "session_update", session_id: "s1", metadata: { deleted: "true" } });
  expect(conversation.deleted).toBe(true);
  expect(desk.list.find("s1")).toBeUndefined();
});

test("a closed conversation is watched no more", () => {
  const { desk, socket } = watching();
  desk.open([]);
  expect(asked(socket, "unwatch")).toMatchObject([{ session_id: "s1" }]);
  expect(desk.conversations.size).toBe(0);
});
