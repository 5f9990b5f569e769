import type { History, StoredMessage } from "../src/api";
import type { Frame } from "../src/wire/frames";

export const STEP = 1 << 20;

/** Numbers between 0 and 1, the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Entry {
  index: number;
  id: string;
  type: "user_message" | "ai_response" | "hidden";
  content: string;
  metadata: Record<string, string>;
}

interface Piece {
  seq: number;
  text: string;
}

interface Answer {
  id: string;
  turn: number;
  pieces: Piece[];
}

const WORDS = ["one ", "two ", "drei ", "vier\n\n", "🙂 ", "**fünf** ", "- ", "`x` ", "\n"];

/** One session as the wire contract describes it, for any number of sockets: what is stored, what is streamed, and who
 *  has got how far. Tests break its network. */
export class Server {
  epoch = "e1";
  entries: Entry[] = [];
  answer: Answer | null = null;
  sockets = new Set<Socket>();
  refusing = false;
  deaf = false;
  historyFails = false;
  answers = 0;
  private position = 0;

  constructor(readonly random: () => number) {}

  open = (url: string): WebSocket => new Socket(this, new URL(url).searchParams) as unknown as WebSocket;

  get living(): Socket[] {
    return [...this.sockets].filter((socket) => socket.attached);
  }

  /** What everyone should see in the end. */
  get said(): { id: string; content: string }[] {
    return this.entries.filter(({ type }) => type !== "hidden").map(({ id, content }) => ({ id, content }));
  }

  /** What users said, as stored. */
  get heardOfUsers(): string[] {
    return this.entries.filter(({ type }) => type === "user_message").map(({ content }) => content);
  }

  storedText(id: string): string | undefined {
    return this.entries.find((entry) => entry.id === id)?.content;
  }

  get streamedText(): string {
    return this.answer?.pieces.map(({ text }) => text).join("") ?? "";
  }

  history(): Promise<History> {
    return new Promise((resolve, reject) => {
      setTimeout(() => {
        const [read, fails] = [this.read(), this.historyFails];
        setTimeout(() => (fails ? reject(new Error("no answer")) : resolve(read)), this.random() * 300);
      }, this.random() * 300);
    });
  }

  private read(): History {
    const messages = this.entries.filter(({ type }) => type !== "hidden").map(
      ({ index, id, type, content, metadata }): StoredMessage => ({
        message_id: id,
        seq: index * STEP,
        content,
        timestamp: "2026-11-21T10:00:00Z",
        sender: type === "ai_response" ? "ai" : "user",
        metadata,
      }),
    );
    return { session_id: "s1", name: "", messages, epoch: this.epoch, seq: this.entries.length * STEP, before: null };
  }

  heard(socket: Socket, frame: Frame): void {
    if (frame.type === "ping") return socket.tell({ type: "pong" });
    if (frame.type !== "user_message") return;
    const id = frame.message_id!;
    const known = this.entries.find((entry) => entry.id === id);
    if (known) return socket.tell({ type: "ack", message_id: id, seq: known.index * STEP });
    this.store("user_message", id, frame.content ?? "", {}, socket);
  }

  /** The model goes on by a piece, or ends. */
  think(): void {
    if (this.answer === null) return this.takeTurn();
    if (this.random() < 0.1) return this.finish("stop");
    const text = WORDS[Math.floor(this.random() * WORDS.length)]!;
    const seq = Math.max(this.position, this.entries.length * STEP) + 1;
    this.position = seq;
    this.answer.pieces.push({ seq, text });
    for (const socket of this.living) socket.piece(this.answer, [{ seq, text }]);
  }

  /** The one that answers has died: its pieces are gone, a part of them was kept. */
  lose(): void {
    if (this.answer) this.finish("interrupted", Math.floor(this.random() * (this.answer.pieces.length + 1)));
  }

  /** The newest entries are lost, as by restoring a backup. */
  restore(): void {
    this.answer = null;
    this.entries = this.entries.slice(0, Math.floor(this.random() * this.entries.length));
    this.position = this.entries.length * STEP;
    this.epoch += "'";
    const open = Array.from(this.sockets);
    for (const socket of open) socket.end(1012);
  }

  drain(): void {
    const metadata = { event: "drain", retry_after: String(Math.floor(this.random() * 2_000)) };
    for (const socket of this.living) socket.tell({ type: "notification", metadata });
  }

  attach(socket: Socket, query: URLSearchParams): void {
    const [epoch, last] = [query.get("epoch"), query.get("lastSeq")];
    const at = last === null ? null : Number(last);
    const newest = Math.max(this.position, this.entries.length * STEP);
    const resumed = at !== null && epoch === this.epoch && at <= newest;
    socket.position = resumed ? at : this.answer ? this.answer.turn * STEP : newest;
    const metadata = { resumed: String(resumed) };
    socket.tell({ type: "connection_status", session_id: "s1", epoch: this.epoch, seq: socket.position, metadata });
    for (const older of this.living) if (older !== socket && older.client === socket.client) older.hangUp(4409);
    const from = socket.position;
    const pieces = this.answer?.pieces.filter(({ seq }) => seq > from) ?? [];
    if (this.answer && this.answer.turn * STEP >= from) socket.tell({ type: "loading", message_id: this.answer.id });
    for (const entry of this.entries.filter(({ index }) => index * STEP > from)) {
      const earlier = pieces.splice(0, pieces.findLastIndex(({ seq }) => seq < entry.index * STEP) + 1);
      if (earlier.length > 0) socket.piece(this.answer!, earlier);
      socket.entry(entry, false);
    }
    if (pieces.length > 0) socket.piece(this.answer!, pieces);
  }

  private takeTurn(): void {
    const last = this.entries.findLast(({ type }) => type !== "hidden");
    if (last?.type !== "user_message") return;
    const id = `a${++this.answers}`;
    this.store("hidden", `t${id}`, "", {});
    this.answer = { id, turn: this.entries.length, pieces: [] };
    for (const socket of this.living) socket.tell({ type: "loading", message_id: id });
  }

  private finish(reason: string, kept = Infinity): void {
    const { id, pieces } = this.answer!;
    const whole = kept >= pieces.length;
    this.answer = null;
    const content = pieces.slice(0, kept).map(({ text }) => text).join("");
    this.store("ai_response", id, content, { done: "true", finish_reason: reason }, null, whole);
  }

  private store(
    type: Entry["type"],
    id: string,
    content: string,
    metadata: Record<string, string>,
    from: Socket | null = null,
    live = false,
  ): void {
    const entry = { index: this.entries.length + 1, id, type, content, metadata };
    this.entries.push(entry);
    this.position = entry.index * STEP;
    for (const socket of this.living) {
      if (socket === from) socket.acknowledge(entry);
      else socket.entry(entry, live);
    }
  }
}

/** A browser's socket and the server's end of it. Frames take their time and keep their order. */
export class Socket {
  readyState = 0;
  attached = false;
  position = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readonly client: string;
  /** nothing gets through any more, and nobody is told */
  dead = false;
  private free = 0;
  private readonly outbox: Frame[] = [];

  constructor(
    private readonly server: Server,
    query: URLSearchParams,
  ) {
    this.client = query.get("client") ?? "";
    server.sockets.add(this);
    this.later(() => {
      if (this.readyState !== 0 || server.deaf) return;
      if (server.refusing) return this.end(1006);
      this.readyState = 1;
      this.onopen?.();
      this.attached = true;
      server.attach(this, query);
    });
  }

  // The browser's side.

  send(text: string): void {
    if (this.dead || this.server.deaf) return;
    this.later(() => this.attached && this.server.heard(this, JSON.parse(text) as Frame));
  }

  close(): void {
    this.readyState = 3;
    this.later(() => this.leave());
  }

  // The server's side.

  entry(entry: Entry, live: boolean): void {
    if (entry.type === "hidden") return;
    const metadata = live ? { ...entry.metadata, streaming: "true" } : entry.metadata;
    const content = live ? "" : entry.content;
    this.place({ type: entry.type, message_id: entry.id, seq: entry.index * STEP, content, metadata });
  }

  acknowledge({ id, index }: Entry): void {
    this.place({ type: "ack", message_id: id, seq: index * STEP });
  }

  piece(answer: Answer, pieces: Piece[]): void {
    const content = pieces.map(({ text }) => text).join("");
    const metadata = { streaming: "true", done: "false" };
    this.place({ type: "ai_response", message_id: answer.id, seq: pieces.at(-1)!.seq, content, metadata });
  }

  tell(frame: Frame): void {
    this.outbox.push(frame);
    this.later(() => this.deliver());
  }

  hangUp(code: number): void {
    this.attached = false;
    this.later(() => this.end(code));
  }

  /** The line is gone at once, with all that was under way. */
  end(code: number): void {
    this.leave();
    this.outbox.length = 0;
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code });
  }

  /** What the network does to the next frame to the browser. */
  fault(kind: "drop" | "twice" | "swap"): void {
    const [first, second] = this.outbox;
    if (!first || first.type === "connection_status") return;
    if (kind === "drop") this.outbox.shift();
    else if (kind === "swap" && second) this.outbox.splice(0, 2, second, first);
    else if (kind === "twice") {
      this.outbox.unshift(first);
      this.later(() => this.deliver());
    }
  }

  private place(frame: Frame & { seq: number }): void {
    const prev = this.position;
    this.position = frame.seq;
    const last = this.outbox.at(-1);
    if (last && mergeable(last, frame) && this.server.random() < 0.5) {
      last.prev ??= last.seq! - 1;
      last.content += frame.content!;
      last.seq = frame.seq;
    } else this.tell(prev === frame.seq - 1 ? frame : { ...frame, prev });
  }

  private deliver(): void {
    const frame = this.outbox.shift();
    if (frame && this.readyState === 1 && !this.dead && !this.server.deaf) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  private leave(): void {
    this.attached = false;
    this.server.sockets.delete(this);
  }

  private later(run: () => void): void {
    this.free = Math.max(this.free, Date.now() + this.server.random() * 80);
    setTimeout(run, this.free - Date.now());
  }
}

function mergeable(last: Frame, next: Frame): boolean {
  return last.metadata?.done === "false" && next.metadata?.done === "false" && last.message_id === next.message_id;
}
