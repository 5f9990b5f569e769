import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Connection, type ConnectionEvents, type LinkState } from "../src/wire/connection";
import type { Frame } from "../src/wire/frames";
import type { Probe } from "../src/wire/verdict";
import { FakeSocket } from "./sockets";

let token: string | null;
let probe: Probe | null;
let states: LinkState[];
let frames: Frame[];
let needed: number;
let waiting: boolean;
let connection: Connection;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  [token, probe, states, frames, needed, waiting] = ["jwt", null, [], [], 0, false];
  const events: ConnectionEvents = {
    state: (state) => states.push(state),
    frame: (frame) => frames.push(frame),
    needToken: () => needed++,
    lost: () => undefined,
  };
  const around = {
    url: () => "ws://host/ws?client=c",
    token: () => token,
    place: () => ({ sessionId: null, epoch: null, lastSeq: null }),
    waiting: () => waiting,
    probe: () => Promise.resolve(probe),
    client: () => "c",
    open: FakeSocket.open,
    random: () => 0.5,
    heartbeat: { every: 20_000, waiting: 5_000, patience: 10_000 },
  };
  connection = new Connection(around, events);
});

afterEach(() => {
  connection.close();
  vi.useRealTimers();
});

const sockets = (): number => FakeSocket.all.length;
const settle = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

test("the token travels in the subprotocol, never in the address", () => {
  connection.connect();
  expect(FakeSocket.last.protocols).toEqual(["chatbox.v1", "bearer.jwt"]);
  expect(FakeSocket.last.url).not.toContain("jwt");
});

test("a first frame opens the connection", () => {
  connection.connect();
  FakeSocket.last.accept();
  expect(connection.state).toEqual({ is: "open" });
  expect(frames[0]?.type).toBe("connection_status");
});

test("without a token nothing is tried and one is asked for", () => {
  token = null;
  connection.connect();
  expect([sockets(), needed, connection.state.is]).toEqual([0, 1, "token"]);
  token = "new";
  connection.renewed();
  expect(sockets()).toBe(1);
});

test.each([
  [401, "token"],
  [403, "stopped"],
  [503, "waiting"],
  [429, "waiting"],
  [200, "waiting"],
])("after a failed handshake a status of %i leads to %s", async (status, expected) => {
  probe = { status, retryAfter: 7_000 };
  connection.connect();
  FakeSocket.last.end();
  await settle();
  expect(connection.state.is).toBe(expected);
});

test("Retry-After is honoured", async () => {
  probe = { status: 503, retryAfter: 8_000 };
  connection.connect();
  FakeSocket.last.end();
  await settle(7_900);
  expect(sockets()).toBe(1);
  await settle(3_000);
  expect(sockets()).toBe(2);
});

test("waits grow while nothing answers and stay bounded", async () => {
  connection.connect();
  const waits: number[] = [];
  for (let attempt = 0; attempt < 9; attempt++) {
    FakeSocket.last.end();
    await settle();
    const { state } = connection;
    waits.push(state.is === "waiting" ? state.until - Date.now() : NaN);
    await settle(waits.at(-1));
  }
  expect(waits.slice(0, 4)).toEqual([375, 750, 1500, 3000]);
  expect(Math.max(...waits)).toBeLessThanOrEqual(20_000);
});

test.each([1001, 4408])("close code %i brings a new socket at once", (code) => {
  connection.connect();
  FakeSocket.last.accept().end(code);
  expect([sockets(), connection.state.is]).toEqual([2, "connecting"]);
});

test("a server that closes again and again with 4408 is not hammered", async () => {
  connection.connect();
  FakeSocket.last.accept().end(4408);
  FakeSocket.last.accept().end(4408);
  expect([sockets(), connection.state.is]).toEqual([2, "waiting"]);
  await settle(6_000);
  FakeSocket.last.accept().end(4408);
  expect(sockets()).toBe(4);
});

test.each([
  [1000, "deleted"],
  [1008, "abuse"],
  [4403, "forbidden"],
])("close code %i stops for good: %s", async (code, reason) => {
  connection.connect();
  FakeSocket.last.accept().end(code);
  await settle(120_000);
  expect(connection.state).toEqual({ is: "stopped", reason });
  expect(sockets()).toBe(1);
});

test("close code 4401 asks for a token and goes on with it", () => {
  connection.connect();
  FakeSocket.last.accept().end(4401);
  expect([connection.state.is, needed]).toEqual(["token", 1]);
  token = "fresh";
  connection.renewed();
  expect(FakeSocket.last.protocols[1]).toBe("bearer.fresh");
});

test("a new token is told to an open connection", () => {
  connection.connect();
  FakeSocket.last.accept();
  token = "fresh";
  connection.renewed();
  expect(FakeSocket.last.sent).toEqual([{ type: "auth", content: "fresh" }]);
});

test("a silent line is pinged and then given up", async () => {
  connection.connect();
  const first = FakeSocket.last.accept();
  await settle(20_000);
  expect(first.sent).toEqual([{ type: "ping" }]);
  await settle(10_000);
  expect(first.readyState).toBe(3);
  expect(connection.state.is).toBe("waiting");
});

test("who waits for something finds a dead line within fifteen seconds", async () => {
  connection.connect();
  waiting = true;
  FakeSocket.last.accept();
  await settle(15_000);
  expect(connection.state.is).toBe("waiting");
});

test("a message that is not answered shows a dead line within fifteen seconds", async () => {
  connection.connect();
  FakeSocket.last.accept();
  await settle(1_000);
  for (let n = 0; n < 5; n++) {
    connection.send({ type: "user_message", message_id: `m${n}` });
    await settle(3_000);
    connection.send({ type: "typing_indicator" });
  }
  expect(connection.state.is).toBe("waiting");
});

test("typing does not put off the ping", async () => {
  connection.connect();
  const first = FakeSocket.last.accept();
  for (let second = 0; second < 21; second += 3) {
    connection.send({ type: "typing_indicator" });
    await settle(3_000);
  }
  expect(first.sent.some(({ type }) => type === "ping")).toBe(true);
});

test("a page that comes back from sleep finds a dead line within seconds", async () => {
  connection.connect();
  const first = FakeSocket.last.accept();
  connection.look();
  connection.look();
  expect(first.sent).toEqual([{ type: "ping" }]);
  await settle(4_000);
  expect(connection.state.is).toBe("waiting");
});

test("looking again hastens a ping that was given more time", async () => {
  connection.connect();
  FakeSocket.last.accept();
  await settle(20_000);
  connection.look();
  await settle(4_000);
  expect(connection.state.is).toBe("waiting");
});

test("a line that answers stays", async () => {
  connection.connect();
  const first = FakeSocket.last.accept();
  for (let round = 0; round < 5; round++) {
    await settle(20_000);
    first.say({ type: "pong" });
  }
  expect(sockets()).toBe(1);
  expect(frames).toHaveLength(1);
});

test("a handshake that hangs is given up", async () => {
  connection.connect();
  await settle(10_000);
  expect(connection.state.is).toBe("waiting");
});

test("the network's return does not wait for the timer", async () => {
  connection.connect();
  FakeSocket.last.end();
  await settle();
  connection.network(false);
  expect(connection.state.is).toBe("offline");
  connection.network(true);
  expect(sockets()).toBe(2);
});

const drain = (ms: number): Frame => ({ type: "notification", metadata: { event: "drain", retry_after: String(ms) } });

test("the network's return does not wait for a handshake or a question that began without it", async () => {
  connection.connect();
  connection.network(false);
  connection.network(true);
  expect([sockets(), FakeSocket.all[0]!.readyState]).toEqual([2, 3]);
  FakeSocket.last.end();
  expect(connection.state.is).toBe("connecting");
  connection.look();
  expect(sockets()).toBe(3);
  await settle();
  expect(connection.state.is).toBe("connecting");
  FakeSocket.last.accept();
  expect(sockets()).toBe(3);
});

test("draining: the next socket speaks before the old one is left", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(1_000));
  await settle(999);
  expect(sockets()).toBe(1);
  await settle(1);
  expect([sockets(), old.readyState, connection.state.is]).toEqual([2, 1, "open"]);
  old.say({ type: "ai_response", seq: 5, content: "from the old one" });
  expect(frames.at(-1)?.content).toBe("from the old one");
  expect(connection.send({ type: "ping" })).toBe(true);
  const next = FakeSocket.last.accept({ metadata: { resumed: "true" } }).say({ type: "ai_response", seq: 6, content: "from the next one" });
  expect([old.readyState, next.readyState, connection.state.is]).toEqual([3, 1, "open"]);
  expect(states.map(({ is }) => is)).toEqual(["connecting", "open", "open"]);
  expect(frames.at(-1)?.content).toBe("from the next one");
});

test("draining: nothing of the next socket counts before its first frame", async () => {
  connection.connect();
  FakeSocket.last.accept().say(drain(0));
  await settle();
  FakeSocket.last.say({ type: "error", error: { code: "DATABASE_ERROR", message: "" } });
  expect(frames.some(({ type }) => type === "error")).toBe(false);
});

test("draining: a refused successor is tried again while the old socket goes on", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  FakeSocket.last.end();
  await settle(700);
  expect(sockets()).toBe(2);
  old.say({ type: "ai_response", seq: 5, content: "still here" });
  expect(frames.at(-1)?.content).toBe("still here");
  await settle(100);
  expect(sockets()).toBe(3);
  FakeSocket.last.accept({ metadata: { resumed: "true" } });
  await settle(9_000);
  expect([sockets(), old.readyState]).toEqual([3, 3]);
});

test("draining: refused to the end, the page comes back when the old socket is closed, with growing waits", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  FakeSocket.last.end();
  old.end(1001);
  expect([sockets(), connection.state.is]).toEqual([3, "connecting"]);
  FakeSocket.last.end();
  await settle();
  expect(connection.state.is).toBe("waiting");
  await settle(375);
  expect(sockets()).toBe(4);
  await settle(10_000);
  expect(FakeSocket.all.filter(({ readyState }) => readyState < 2).length).toBeLessThan(2);
});

test.each([1001, 1006, 4409])("draining: the old socket may close first, with %i", async (code) => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  old.end(code);
  FakeSocket.last.accept({ metadata: { resumed: "true" } });
  expect([sockets(), connection.state.is]).toEqual([2, "open"]);
});

test("draining: an old socket that is told of its successor before the page is changes nothing that is seen", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  old.end(4409);
  expect([connection.state.is, connection.send({ type: "user_message" })]).toEqual(["open", false]);
  FakeSocket.last.accept({ metadata: { resumed: "true" } });
  expect(connection.send({ type: "user_message" })).toBe(true);
});

test("draining: a conversation that is deleted meanwhile is deleted", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  old.end(1000);
  expect([FakeSocket.last.readyState, connection.state.is]).toEqual([3, "stopped"]);
});

test("draining: told twice, one successor is opened; without a token none, and the old socket stays", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  old.say(drain(0));
  await settle();
  expect(sockets()).toBe(2);
  FakeSocket.last.end();
  token = null;
  await settle(5_000);
  expect([sockets(), connection.state.is, needed]).toEqual([2, "open", 0]);
});

test("draining: who leaves for another session leaves both sockets", async () => {
  connection.connect();
  const old = FakeSocket.last.accept().say(drain(0));
  await settle();
  const next = FakeSocket.last;
  connection.connect();
  expect([old.readyState, next.readyState, sockets()]).toEqual([3, 3, 3]);
});

test("what is no frame is passed over", () => {
  connection.connect();
  FakeSocket.last.accept();
  for (const data of ["", "[]", "null", "{", '{"type":5}']) FakeSocket.last.onmessage?.({ data });
  expect(frames).toHaveLength(1);
});
