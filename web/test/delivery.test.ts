import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Api } from "../src/api";
import { Chat } from "../src/chat/chat";
import { MemoryStore } from "../src/storage";
import { randomFrom, Server } from "./server";

/** Many histories of one conversation over a bad network. What holds at every moment is checked after every step.
 *  VITE_ROUNDS=400 makes a longer run. */

beforeEach(() => void vi.useFakeTimers({ now: 1_800_000_000_000 }));
afterEach(() => void vi.useRealTimers());

class Device {
  readonly chat: Chat;
  readonly said: string[] = [];
  private readonly shown = new Map<string, string>();
  private epoch = "";
  private connected = false;

  constructor(
    private readonly server: Server,
    /** nothing happens to the network that the reader may notice */
    private readonly steady: boolean,
  ) {
    this.chat = new Chat({
      api: { probe: () => Promise.resolve(null), history: () => server.history() } as unknown as Api,
      store: new MemoryStore(),
      userId: "u",
      needToken: () => undefined,
      changed: () => undefined,
      named: () => undefined,
      activity: () => undefined,
      soon: (run) => run(),
      around: {
        url: (place, client) => {
          const url = new URL("ws://host/ws");
          for (const [key, value] of Object.entries({ ...place, client })) if (value !== null) url.searchParams.set(key, String(value));
          return url.href;
        },
        token: () => "jwt",
        open: server.open,
        random: server.random,
        heartbeat: { every: 20_000, waiting: 5_000, patience: 10_000 },
      },
    });
    this.chat.open("s1");
  }

  get texts(): { id: string; content: string }[] {
    return this.chat.log.messages.map(({ id, content }) => ({ id, content }));
  }

  say(text: string): void {
    this.said.push(text);
    this.chat.say(text);
  }

  /** Everything once, every text the beginning of the true one, and nothing that is shown goes away or gets shorter. */
  check(): void {
    const { messages } = this.chat.log;
    this.connected ||= this.chat.link.is === "open";
    if (this.steady && this.connected) expect(this.chat.link.is).toBe("open");
    expect(new Set(messages.map(({ id }) => id)).size).toBe(messages.length);
    if (this.epoch !== this.server.epoch) this.shown.clear();
    this.epoch = this.server.epoch;
    if (this.chat.log.epoch !== this.epoch || this.chat.reading !== "read") return;
    const now = new Map(messages.map(({ id, content }) => [id, content]));
    for (const [id, before] of this.shown) {
      const text = now.get(id);
      expect(text?.startsWith(before) || text === this.server.storedText(id), `${id}: ${before} → ${text}`).toBe(true);
    }
    for (const { id, content, sender } of messages) {
      if (sender === "ai" && this.server.answer?.id === id) expect(this.server.streamedText.slice(0, content.length), id).toBe(content);
      this.shown.set(id, content);
    }
  }
}

const FAULTS: Record<string, (server: Server) => void> = {
  cut: (server) => pick(server)?.end(1006),
  "too slow": (server) => pick(server)?.hangUp(4408),
  silence: (server) => pick(server) && (pick(server)!.dead = true),
  drain: (server) => server.drain(),
  "drain and go": (server) => {
    const old = server.living;
    server.drain();
    setTimeout(() => old.forEach((socket) => socket.attached && socket.hangUp(1001)), server.random() * 3_000);
  },
  drop: (server) => pick(server)?.fault("drop"),
  twice: (server) => pick(server)?.fault("twice"),
  swap: (server) => pick(server)?.fault("swap"),
  "a holder dies": (server) => server.lose(),
  restore: (server) => server.random() < 0.1 && server.restore(),
  refusing: (server) => (server.refusing = !server.refusing),
  "black hole": (server) => {
    server.deaf = !server.deaf;
    for (const socket of server.sockets) socket.dead ||= server.deaf;
  },
  "no history": (server) => (server.historyFails = !server.historyFails),
};

function isUnnoticed(fault: string): boolean {
  return ["drain", "twice", "a holder dies"].includes(fault);
}

function pick(server: Server): Server["living"][number] | undefined {
  return server.living[Math.floor(server.random() * server.living.length)];
}

interface Ending {
  server: Server;
  devices: Device[];
}

async function live(seed: number, faults: string[], steps = 120): Promise<Ending> {
  const server = new Server(randomFrom(seed));
  const devices = [new Device(server, faults.every(isUnnoticed)), new Device(server, faults.every(isUnnoticed))];
  for (let step = 0; step < steps; step++) {
    const dice = server.random();
    const device = devices[Math.floor(server.random() * devices.length)]!;
    if (dice < 0.1) device.say(`said in step ${step}`);
    else if (dice < 0.2) FAULTS[faults[Math.floor(server.random() * faults.length)]!]!(server);
    else if (dice < 0.25) device.chat.look();
    else server.think();
    await vi.advanceTimersByTimeAsync(server.random() * (server.random() < 0.1 ? 8_000 : 100));
    for (const each of devices) each.check();
  }
  await heal(server, devices[0]!);
  return { server, devices };
}

async function heal(server: Server, device: Device): Promise<void> {
  server.refusing = server.deaf = server.historyFails = false;
  for (let step = 0; step < 400; step++) {
    server.think();
    await vi.advanceTimersByTimeAsync(200);
    // Whoever has missed the very last frame learns of it from the next one.
    if (step === 300) device.say("the end");
  }
}

/** Everyone shows what is stored, in the same order; what was written is stored once, in its writer's order. */
function judge({ server, devices }: Ending, seed: number, restored: boolean): void {
  for (const { texts, chat, said } of devices) {
    expect(texts, `seed ${seed}`).toEqual(server.said);
    expect([chat.link.is, chat.answering], `seed ${seed}`).toEqual(["open", false]);
    const stored = server.heardOfUsers.filter((text) => said.includes(text));
    if (!restored) expect(stored, `seed ${seed}`).toEqual(said);
    chat.close();
  }
}

const ROUNDS = Number(import.meta.env.VITE_ROUNDS ?? 20);
const ALL = Object.keys(FAULTS);

test.each([...ALL.map((fault) => [fault, [fault]] as const), ["everything", ALL] as const])(
  "in the end everyone has read the same, once, after %s",
  async (_, faults) => {
    for (let seed = 1; seed <= ROUNDS; seed++) judge(await live(seed, [...faults]), seed, faults.includes("restore"));
  },
  120_000 + ROUNDS * 1_000,
);
