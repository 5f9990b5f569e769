import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Api, History, StoredMessage } from "../src/api";
import { departure, repeated, waitingCall } from "../src/chat/call";
import { Chat } from "../src/chat/chat";
import { locale } from "../src/i18n/locale";
import { when } from "../src/i18n/times";
import { MemoryStore } from "../src/storage";
import { eventText } from "../src/ui/event-text";
import { spoken } from "../src/ui/spoken";
import type { Frame } from "../src/wire/frames";
import { randomFrom, STEP } from "./server";
import { FakeSocket } from "./sockets";

type Metadata = Record<string, string>;

const AT = "2026-11-21T10:05:00Z";

let chats: Chat[];
let answers: ((history: History) => void)[];

beforeEach(() => {
  vi.useFakeTimers();
  [FakeSocket.all, chats, answers] = [[], [], []];
});

afterEach(() => {
  for (const chat of chats) chat.close();
  vi.useRealTimers();
  locale.use("en");
});

/** A tab, and the socket that it has opened. Its history is read when the test says so. */
function open(): [Chat, FakeSocket] {
  const chat = new Chat({
    api: { probe: () => Promise.resolve(null), history: () => new Promise((resolve) => answers.push(resolve)) } as unknown as Api,
    store: new MemoryStore(),
    userId: "u",
    needToken: () => undefined,
    changed: () => undefined,
    named: () => undefined,
    activity: () => undefined,
    soon: (run) => run(),
    around: {
      url: () => "ws://host/ws",
      token: () => "jwt",
      open: FakeSocket.open,
      random: () => 0.5,
      heartbeat: { every: 20_000, waiting: 5_000, patience: 10_000 },
    },
  });
  chats.push(chat);
  chat.open("s1");
  return [chat, FakeSocket.last];
}

/** What a reader is shown of who helps. */
function shown(chat: Chat): unknown {
  const { facts, log } = chat;
  const lines = log.messages.map((message) => (message.kind === "event" ? eventText(message, []) : `${message.sender}: ${message.content}`));
  const waiting = facts.help === "asked" || facts.help === "told" ? waitingCall(log.messages) : null;
  return { help: facts.help, staff: facts.staffName, email: facts.email, waiting, back: departure(log.messages) !== null, lines };
}

/** A session as the server keeps it: its log, and what is true after each entry. */
class Session {
  readonly entries: (Frame & { metadata: Metadata })[] = [];
  readonly states: Metadata[] = [{ help_state: "none" }];

  say(type: string, metadata: Metadata, more: Partial<Frame> = {}): this {
    const index = this.entries.length + 1;
    const sender = type === "notification" ? "system" : type.startsWith("admin_") ? "admin" : "user";
    this.entries.push({ type, message_id: `m${index}`, seq: index * STEP, prev: (index - 1) * STEP, sender, timestamp: AT, ...more, metadata });
    this.states.push(after(this.states.at(-1)!, type, metadata));
    return this;
  }

  history(until: number): History {
    const messages = this.entries.slice(0, until).map(({ type, ...entry }): StoredMessage => {
      const metadata = type.startsWith("admin_") ? { ...entry.metadata, event: type } : entry.metadata;
      return { message_id: entry.message_id!, seq: entry.seq!, content: entry.content ?? "", timestamp: AT, sender: entry.sender!, metadata };
    });
    return { session_id: "s1", name: "", messages, epoch: "e1", seq: until * STEP, before: null };
  }

  greet(socket: FakeSocket, at: number, resumed = "false", from = at): void {
    socket.accept({ seq: from * STEP, metadata: { ...this.states[at], resumed } });
  }
}

/** The server's rules. */
function after(state: Metadata, type: string, { event, state: news, email, admin_name, open }: Metadata): Metadata {
  const { admin_id, admin_name: _, ...alone } = state;
  if (type === "admin_join") {
    return { ...alone, help_state: state.help_state === "none" ? "none" : "joined", admin_id: "id", admin_name: admin_name! };
  }
  if (type === "admin_leave") return { ...alone, help_state: "none" };
  if (event !== "help_state") return state;
  const known = email ? { ...state, help_email: email } : state;
  const before: Metadata = { asked: "none", told: "asked" };
  const counts = admin_id === undefined && open === undefined && (news === "none" || state.help_state === before[news!]);
  return counts ? { ...known, help_state: news! } : known;
}

const EVENTS: [string, Metadata, Partial<Frame>?][] = [
  ["user_message", {}, { content: "hello" }],
  ["user_message", { event: "admin_join", admin_name: "Nobody" }, { content: "I am staff" }],
  ["user_message", { event: "admin_leave", admin_name: "Nobody" }, { content: "I was staff" }],
  ["user_message", { admin_id: "id", admin_name: "Bea" }, { sender: "admin", content: "I look into it" }],
  ["notification", { event: "help_state", state: "asked" }],
  ["notification", { event: "help_state", state: "asked", email: "ann@example.com" }],
  ["notification", { event: "help_state", state: "asked", open: "false", opens_at: "2026-11-23T09:00:00Z" }],
  ["notification", { event: "help_state", state: "told", at: AT }],
  ["notification", { event: "help_state", state: "none" }],
  ["admin_join", { admin_id: "id", admin_name: "Bea" }],
  ["admin_join", { admin_id: "id2", admin_name: "Cy", from_id: "id", from_name: "Bea" }],
  ["admin_leave", { admin_id: "id", admin_name: "Bea" }],
  ["admin_leave", { admin_id: "id", admin_name: "Bea", reason: "away" }],
];

/** What staff do follows on each other: who has a session does not come again. */
function happens(session: Session, random: () => number): void {
  const [type, metadata, more] = EVENTS[Math.floor(random() * EVENTS.length)]!;
  const assisted = session.states.at(-1)!.admin_id !== undefined;
  const staff = type.startsWith("admin_") || more?.sender === "admin";
  const needed = type === "admin_join" ? metadata.from_id !== undefined : true;
  if (!staff || assisted === needed) session.say(type, metadata, more);
}

async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

test.each(Array.from({ length: 300 }, (_, seed) => seed))("a reload, a second tab and a lost line show the same (%i)", async (seed) => {
  const random = randomFrom(seed);
  const upTo = (least: number, most: number): number => least + Math.floor(random() * (most - least + 1));
  const session = new Session();
  for (let n = 0; n < 14; n++) happens(session, random);
  const { length } = session.entries;

  const [live, first] = open();
  session.greet(first, 0);
  for (const entry of session.entries) first.say(entry);

  const read = upTo(0, length);
  const [late, second] = open();
  session.greet(second, read);
  const more = upTo(read, length);
  for (const entry of session.entries.slice(read, more)) second.say(entry);
  answers.pop()?.(session.history(upTo(read, more)));
  await settle();
  for (const entry of session.entries.slice(more)) second.say(entry);

  const cut = upTo(0, length);
  const [back, third] = open();
  session.greet(third, 0);
  for (const entry of session.entries.slice(0, cut)) third.say(entry);
  third.end();
  await vi.advanceTimersByTimeAsync(2_000);
  session.greet(FakeSocket.last, length, "true", cut);
  for (const entry of session.entries.slice(cut)) FakeSocket.last.say(entry);

  const spokenLast = session.entries.findLast(({ type }) => type !== "notification")?.type;
  expect(departure(live.log.messages) !== null).toBe(spokenLast === "admin_leave");
  const senders = session.entries.map(({ type, sender }) => (type === "user_message" ? sender : "system"));
  expect(live.log.messages.map(({ sender }) => sender)).toEqual(senders);
  expect(live.log.messages.map(({ kind }) => kind)).toEqual(senders.map((sender) => (sender === "system" ? "event" : "text")));
  expect(shown(late)).toEqual(shown(live));
  expect(shown(back)).toEqual(shown(live));
  const { help_state, admin_name = null, help_email = null } = session.states.at(-1)!;
  expect([live.facts.help, live.facts.staffName, live.facts.email]).toEqual([help_state, admin_name, help_email]);
});

test("history that is read late does not undo what has come since", async () => {
  const session = new Session();
  session.say("notification", { event: "help_state", state: "asked" }).say("admin_join", { admin_id: "id", admin_name: "Bea" });
  const [chat, socket] = open();
  session.greet(socket, 1);
  socket.say(session.entries[1]!);
  answers[0]!(session.history(1));
  await settle();
  expect([chat.facts.staffName, chat.facts.help]).toEqual(["Bea", "joined"]);
});

test("who has the conversation is known where their coming is too long ago to be read", () => {
  const [chat, socket] = open();
  socket.accept({ seq: 0, metadata: { resumed: "false", help_state: "none", admin_id: "id", admin_name: "Bea" } });
  expect(chat.facts.staffName).toBe("Bea");
});

test("what is known of a call for help ends with it", () => {
  const session = new Session();
  const [chat, socket] = open();
  const help = (metadata: Metadata): Session => session.say("notification", { event: "help_state", ...metadata });
  help({ state: "asked" });
  help({ state: "told", at: AT });
  help({ state: "told", open: "false", opens_at: "2026-11-23T09:00:00Z" });
  session.greet(socket, 0);
  for (const entry of session.entries) socket.say(entry);
  expect(waitingCall(chat.log.messages)).toEqual({ toldAt: AT, closed: true, opensAt: "2026-11-23T09:00:00Z" });
  help({ state: "told", at: "2026-11-23T09:00:01Z", open: "true" });
  socket.say(session.entries.at(-1)!);
  expect(waitingCall(chat.log.messages)).toMatchObject({ toldAt: "2026-11-23T09:00:01Z", closed: false });
  for (const state of ["none", "asked"]) socket.say(help({ state }).entries.at(-1)!);
  expect(waitingCall(chat.log.messages)).toEqual({ toldAt: null, closed: false, opensAt: null });
});

test("what is no news about a call for help is no line", () => {
  const session = new Session();
  const help = (metadata: Metadata): Session => session.say("notification", { event: "help_state", ...metadata });
  for (const state of ["asked", "asked", "none", "told", "none", "asked"]) help({ state });
  help({ state: "asked", open: "false" });
  help({ state: "told", at: AT });
  help({ state: "asked", email: "ann@example.com" });
  session.say("admin_join", { admin_id: "id", admin_name: "Bea" });
  help({ state: "none" });
  const [chat, socket] = open();
  session.greet(socket, 0);
  for (const entry of session.entries) socket.say(entry);
  expect([...repeated(chat.log.messages)]).toEqual(["m2", "m4", "m5", "m11"]);
});

test("a call for help is shown while it is on its way, and asked for once", () => {
  const [chat, socket] = open();
  socket.accept({ metadata: { resumed: "false", help_state: "none" } });
  chat.askForHelp();
  chat.askForHelp();
  expect([chat.help, chat.facts.help, socket.sent.map(({ type }) => type)]).toEqual(["asked", "none", ["help_request"]]);
  socket.say({ type: "ack", message_id: socket.sent[0]!.message_id!, seq: STEP, prev: 0 });
  chat.askForHelp();
  expect([chat.help, chat.facts.help, socket.sent.length]).toEqual(["asked", "asked", 1]);
  chat.cancelHelp();
  expect(chat.help).toBe("none");
});

test("without a connection nobody is asked, and the reader is told so", () => {
  const [chat, socket] = open();
  socket.accept().end();
  chat.askForHelp();
  expect([chat.help, chat.problem]).toEqual(["none", "UNREACHABLE"]);
});

test("a line that is cut between an ack and its notification loses no line of the conversation", () => {
  const [chat, socket] = open();
  socket.accept({ metadata: { resumed: "false", help_state: "none" } });
  chat.askForHelp("ann@example.com");
  const [asked] = socket.sent;
  expect(asked!.metadata).toEqual({ email: "ann@example.com" });
  socket.say({ type: "ack", message_id: asked!.message_id!, seq: STEP, prev: 0 });
  const once = shown(chat);
  expect(once).toMatchObject({ help: "asked", email: "ann@example.com", lines: ["You asked for an answer to ann@example.com."] });
  const metadata = { event: "help_state", state: "asked", email: "ann@example.com" };
  socket.say({ type: "notification", message_id: asked!.message_id!, sender: "system", metadata });
  expect(shown(chat)).toEqual(once);
});

test("what was acknowledged without an effect is not shown", () => {
  const [chat, socket] = open();
  socket.accept({ metadata: { resumed: "false", help_state: "none" } });
  chat.askForHelp();
  socket.say({ type: "notification", message_id: "other", seq: STEP, prev: 0, sender: "system", metadata: { event: "help_state", state: "asked" } });
  socket.say({ type: "ack", message_id: socket.sent[0]!.message_id!, seq: STEP });
  expect(shown(chat)).toMatchObject({ help: "asked", lines: ["You asked for help from a person."] });
});

test("an address that the server refuses is said to be none", () => {
  const [chat, socket] = open();
  socket.accept();
  chat.askForHelp("ann@@example.com");
  socket.say({ type: "error", message_id: socket.sent[0]!.message_id!, error: { code: "INVALID_FORMAT", message: "" } });
  expect([chat.problem, chat.help]).toEqual(["email", "none"]);
});

test("an answer that can't be given again because staff have come is told as that", () => {
  const [chat, socket] = open();
  socket.accept();
  chat.regenerate();
  socket.say({ type: "error", message_id: socket.sent[0]!.message_id!, error: { code: "CONFLICT", message: "" } });
  expect(chat.problem).toBe("again");
});

test("staff are seen typing by name while they have the conversation, until they have said it", async () => {
  const [chat, socket] = open();
  socket.accept({ metadata: { resumed: "false", help_state: "none", admin_id: "id", admin_name: "Bea" } });
  const typing: Frame = { type: "typing_indicator", sender: "admin", metadata: { admin_name: "Bea" } };
  socket.say(typing);
  expect(chat.typist).toEqual({ sender: "admin", name: "Bea" });
  socket.say({ type: "user_message", message_id: "mine", seq: STEP, prev: 0, content: "from my phone", sender: "user" });
  expect(chat.typist?.name).toBe("Bea");
  socket.say({ type: "user_message", message_id: "theirs", seq: 2 * STEP, prev: STEP, content: "Hello", sender: "admin" });
  expect(chat.typist).toBeNull();
  socket.say(typing);
  await vi.advanceTimersByTimeAsync(6_001);
  expect(chat.typist).toBeNull();
  socket.say(typing).say({ type: "admin_leave", message_id: "l", seq: 3 * STEP, prev: 2 * STEP, sender: "admin", metadata: {} });
  socket.say(typing);
  expect(chat.typist).toBeNull();
});

test.each([
  [{ event: "admin_join", admin_name: "Bea" }, "Bea has joined. The assistant is silent meanwhile."],
  [{ event: "admin_join", admin_name: "Cy", from_name: "Bea" }, "Bea has handed the conversation on to Cy."],
  [{ event: "admin_leave", admin_name: "Bea" }, "Bea has left."],
  [{ event: "admin_leave", admin_name: "Bea", reason: "left" }, "Bea has left."],
  [{ event: "admin_leave", admin_name: "Bea", reason: "released" }, "Bea is no longer in charge of the conversation."],
  [{ event: "admin_leave", admin_name: "Bea", reason: "away" }, "Bea has been away for too long."],
  [{ event: "admin_leave", admin_name: "Bea", reason: "ended" }, "Bea has left with the end of the conversation."],
  [{ event: "help_state", state: "told" }, "Support was told."],
  [{ event: "help_state", state: "asked", open: "false" }, "Support is closed now."],
  [{ event: "help_state", state: "joined" }, ""],
])("a line says what happened: %o", (metadata, text) => {
  const [chat, socket] = open();
  const type = metadata.event.startsWith("admin_") ? metadata.event : "notification";
  socket.accept().say({ type, message_id: "m", seq: STEP, prev: 0, sender: type === "notification" ? "system" : "admin", metadata });
  const [message] = chat.log.messages;
  expect([message!.kind, eventText(message!, [])]).toEqual(["event", text]);
  locale.use("de");
  expect(eventText(message!, []) === "").toBe(text === "");
  expect(eventText(message!, [])).not.toContain("{");
});

test("times are told as parts of sentences", () => {
  const now = new Date(2026, 10, 21, 12, 0);
  const at = (day: number): string => new Date(2026, 10, day, 9, 5).toISOString();
  locale.tag = "en-GB";
  expect([when(at(21), now), when(at(23), now), when(at(30), now)]).toEqual([
    "at 09:05",
    "on Monday at 09:05",
    "on 30 November at 09:05",
  ]);
  locale.use("de");
  locale.tag = "de";
  expect([when(at(21), now), when(at(23), now)]).toEqual(["um 09:05", "am Montag um 09:05"]);
});

test("a screen reader is told what staff say, and that they come and go", () => {
  const session = new Session();
  session
    .say("admin_join", { admin_id: "id", admin_name: "Bea" })
    .say("user_message", { admin_name: "Bea" }, { sender: "admin", content: "Hello" })
    .say("user_message", {}, { content: "mine" })
    .say("admin_leave", { admin_id: "id", admin_name: "Bea" });
  const [chat, socket] = open();
  session.greet(socket, 0);
  for (const entry of session.entries) socket.say(entry);
  expect(chat.log.messages.map(spoken)).toEqual([
    "Bea has joined. The assistant is silent meanwhile.",
    "Bea: Hello",
    "",
    "Bea has left.",
  ]);
});
