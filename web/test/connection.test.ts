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
let connection: Connection;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  [token, probe, states, frames, needed] = ["jwt", null, [], [], 0];
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
    probe: () => Promise.resolve(probe),
    client: () => "c",
    open: FakeSocket.open,
    random: () => 0.5,
    heartbeat: { every: 20_000, patience: 10_000 },
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

test.each([1001, 4408])("close code %i of a socket that has lived brings a new one at once", async (code) => {
  connection.connect();
  FakeSocket.last.accept();
  await settle(6_000);
  FakeSocket.last.end(code);
  expect(sockets()).toBe(2);
});

test("a server that closes at once with 4408 is not hammered", async () => {
  connection.connect();
  FakeSocket.last.accept().end(4408);
  expect(sockets()).toBe(1);
  expect(connection.state.is).toBe("waiting");
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

test("draining: the next socket is open before the old one is left, and nothing is heard twice", async () => {
  connection.connect();
  const old = FakeSocket.last.accept();
  old.say({ type: "notification", metadata: { event: "drain", retry_after: "1000" } });
  await settle(400);
  const next = FakeSocket.last;
  expect(next).not.toBe(old);
  old.say({ type: "ai_response", seq: 5, content: "held" });
  expect(frames.map((frame) => frame.type)).toEqual(["connection_status", "notification"]);
  next.accept({ metadata: { resumed: "true" } }).say({ type: "ai_response", seq: 5, content: "held" });
  expect(old.readyState).toBe(3);
  expect(frames.filter((frame) => frame.type === "ai_response")).toHaveLength(1);
  expect(connection.state.is).toBe("open");
});

test("draining: when the next socket fails the old one goes on, with what it said meanwhile", async () => {
  connection.connect();
  const old = FakeSocket.last.accept();
  old.say({ type: "notification", metadata: { event: "drain", retry_after: "0" } });
  await settle();
  old.say({ type: "ai_response", seq: 5, content: "held" });
  FakeSocket.last.end();
  expect(frames.at(-1)?.content).toBe("held");
  expect(connection.send({ type: "ping" })).toBe(true);
});

test("draining: the old one may close first", async () => {
  connection.connect();
  const old = FakeSocket.last.accept();
  old.say({ type: "notification", metadata: { event: "drain", retry_after: "0" } });
  await settle();
  old.end(1001);
  FakeSocket.last.accept({ metadata: { resumed: "true" } });
  expect([sockets(), connection.state.is]).toEqual([2, "open"]);
});

test("what is no frame is passed over", () => {
  connection.connect();
  FakeSocket.last.accept();
  for (const data of ["", "[]", "null", "{", '{"type":5}']) FakeSocket.last.onmessage?.({ data });
  expect(frames).toHaveLength(1);
});
