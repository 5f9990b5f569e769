import type { History } from "../api";
import type { Frame } from "../wire/frames";
import { answer, fromFrame, fromStored, type Message } from "./message";

/** What taking a frame did. `gap`: something before it is missing, resume. `seen`: it was here before. */
export type Taken = "applied" | "seen" | "gap";

/** An answer that has been announced; its text may not have begun. */
export interface Expected {
  id: string | null;
  replaces: string | null;
}

/** One conversation as this client knows it: frames and history go in, messages in the log's order come out. */
export class Log {
  messages: Message[] = [];
  position = 0;
  epoch: string | null = null;
  /** pages back in the history; null at the start */
  before: number | string | null = null;
  expected: Expected | null = null;
  private byId = new Map<string, Message>();
  /** What was shown before `restart`: it stays until `load`, and a new word about it counts from its beginning. */
  private readonly stale = new Set<Message>();
  /** How long the running answer was at each position since it began. */
  private readonly lengths = new Map<number, number>();

  get(id: string): Message | undefined {
    return this.byId.get(id);
  }

  /** The answer that is being written, if any. */
  get streaming(): Message | undefined {
    return this.messages.findLast((message) => message.state === "streaming");
  }

  /** Drop what belongs to another conversation; what was not acknowledged stays. */
  forget(): void {
    this.stale.clear();
    this.replaceAll(this.messages.filter(isUnacknowledged));
  }

  /** Begin at a position about which nothing is known. What is shown stays until `load`. */
  restart(position: number, epoch: string | null): void {
    this.position = position;
    this.epoch = epoch;
    this.before = null;
    this.expected = null;
    this.lengths.clear();
    for (const message of this.messages) if (!isUnacknowledged(message)) this.stale.add(message);
  }

  /** History read by HTTP, after `restart`: it may overlap what has come since. */
  load(history: Pick<History, "messages" | "before">): void {
    const { messages: shown, byId: known } = this;
    this.before = history.before;
    this.replaceAll(history.messages.map((stored) => continuing(fromStored(stored), known.get(stored.message_id))));
    for (const message of shown) if (!this.byId.has(message.id) && !this.stale.has(message)) this.insert(message);
    this.stale.clear();
    this.markSuperseded();
  }

  /** The page of history before what is here. */
  prepend(history: Pick<History, "messages" | "before">): void {
    this.before = history.before;
    const fresh = history.messages.filter((stored) => !this.byId.has(stored.message_id)).map(fromStored);
    this.replaceAll([...fresh, ...this.messages]);
    this.markSuperseded();
  }

  /** A frame of the log or about its running answer. */
  take(frame: Frame): Taken {
    const { seq } = frame;
    if (seq === undefined) {
      this.apply(frame, this.position);
      return "applied";
    }
    if (seq <= this.position) return this.again(frame);
    const prev = frame.prev ?? seq - 1;
    if (!this.joins(frame, prev)) return "gap";
    this.position = seq;
    this.apply(frame, prev);
    if (this.streaming) this.lengths.set(seq, this.streaming.content.length);
    return "applied";
  }

  /** Show a message before the server has it. */
  addUnsent(message: Message): void {
    if (this.byId.has(message.id)) return;
    this.byId.set(message.id, message);
    this.messages.push(message);
  }

  fail(id: string, problem: string): void {
    const message = this.byId.get(id);
    if (message?.state === "sending") this.change(message, { state: "failed", problem });
  }

  drop(id: string): void {
    this.byId.delete(id);
    this.messages = this.messages.filter((message) => message.id !== id);
  }

  /** The answers that this one has replaced, newest first. */
  earlier(message: Message): Message[] {
    const found: Message[] = [];
    let old = message.replaces ? this.byId.get(message.replaces) : undefined;
    while (old && !found.includes(old)) {
      found.push(old);
      old = old.replaces ? this.byId.get(old.replaces) : undefined;
    }
    return found;
  }

  /** Whether nothing is missing before a frame. Two sockets of one handover cut the text into different pieces: one may
   *  begin before this position, if it is known what was here then. */
  private joins(frame: Frame, prev: number): boolean {
    if (prev >= this.position) return prev === this.position;
    const message = this.byId.get(frame.message_id ?? "");
    return !isPiece(frame) || !message || this.stale.has(message) || message.state !== "streaming" || this.lengths.has(prev);
  }

  private again(frame: Frame): Taken {
    if (frame.type === "ack") this.acknowledge(frame);
    return "seen";
  }

  private apply(frame: Frame, prev: number): void {
    switch (frame.type) {
      case "ack":
        return this.acknowledge(frame);
      case "loading":
        return this.expect(frame);
      case "ai_response":
        return isPiece(frame) ? this.piece(frame, prev) : this.whole(frame);
      case "user_message":
      case "file_upload":
      case "voice_message":
      case "admin_join":
      case "admin_leave":
      case "note":
      case "notification":
        if (frame.message_id) this.upsert(fromFrame(frame, this.position));
    }
  }

  /** A resume announces the running answer again, also to those who are reading it. */
  private expect(frame: Frame): void {
    const id = frame.message_id ?? null;
    if (id !== null && this.byId.has(id)) return;
    this.expected = { id, replaces: frame.metadata?.replaces ?? null };
    this.supersede(this.expected.replaces);
  }

  private acknowledge(frame: Frame): void {
    const message = frame.message_id ? this.byId.get(frame.message_id) : undefined;
    if (!message || message.seq !== null) return;
    this.change(message, { state: "done", problem: null, seq: frame.seq ?? null, timestamp: frame.timestamp ?? message.timestamp });
    this.settle(message);
  }

  private piece(frame: Frame, prev: number): void {
    const id = frame.message_id ?? "";
    const known = this.byId.get(id);
    const message = known && !this.stale.has(known) ? known : this.begin(id, frame, prev);
    if (message.state !== "streaming") return;
    this.change(message, { ...lengthened(message, this.lengths.get(prev), frame.content ?? ""), seq: frame.seq ?? null });
    if (frame.metadata?.done === "true") this.finish(message, frame);
  }

  private begin(id: string, frame: Frame, prev: number): Message {
    const replaces = frame.metadata?.replaces ?? this.expected?.replaces ?? null;
    const shown = this.byId.get(id);
    const message = shown ?? answer(id, replaces, frame.timestamp ?? new Date().toISOString());
    if (shown) this.renew(shown, { state: "streaming", replaces, metadata: {} });
    else this.insert(message);
    this.supersede(replaces);
    this.expected = null;
    this.lengths.clear();
    this.lengths.set(prev, 0);
    return message;
  }

  private finish(message: Message, frame: Frame): void {
    this.expected = null;
    this.change(message, {
      state: "done",
      metadata: { ...message.metadata, ...frame.metadata },
      timestamp: frame.timestamp ?? message.timestamp,
    });
    if (frame.metadata?.replaces) this.change(message, { replaces: frame.metadata.replaces });
    this.settle(message);
    this.supersede(message.replaces);
  }

  private whole(frame: Frame): void {
    if (!this.expected?.id || this.expected.id === frame.message_id) this.expected = null;
    this.upsert(fromFrame(frame, this.position));
    this.supersede(frame.metadata?.replaces ?? null);
  }

  private upsert(fresh: Message): void {
    const known = this.byId.get(fresh.id);
    if (!known) return this.insert(fresh);
    this.renew(known, { ...continuing(fresh, known), superseded: known.superseded || fresh.superseded });
    this.settle(known);
  }

  private renew(message: Message, changes: Partial<Message>): void {
    this.stale.delete(message);
    this.change(message, changes);
  }

  /** Move a message to its place in the log. An answer stands where it began until it has ended. */
  private settle(message: Message): void {
    this.messages = this.messages.filter((other) => other !== message);
    this.insert(message);
  }

  /** The log's order; what is not acknowledged stays last. */
  private insert(message: Message): void {
    this.byId.set(message.id, message);
    const before = this.messages.findLastIndex((other) => !follows(other, message));
    this.messages.splice(before + 1, 0, message);
  }

  private supersede(id: string | null): void {
    const old = id ? this.byId.get(id) : undefined;
    if (old && !old.superseded) this.change(old, { superseded: true });
  }

  private markSuperseded(): void {
    for (const message of this.messages) this.supersede(message.replaces);
  }

  private replaceAll(messages: Message[]): void {
    this.messages = messages;
    this.byId = new Map(messages.map((message) => [message.id, message]));
  }

  private change(message: Message, changes: Partial<Message>): void {
    Object.assign(message, changes, { revision: message.revision + 1 });
  }
}

function isUnacknowledged({ state }: Message): boolean {
  return state === "sending" || state === "failed";
}

function follows(other: Message, message: Message): boolean {
  if (other.state === "sending") return message.state !== "sending";
  return other.state === "done" && (other.seq ?? 0) > (message.seq ?? Infinity);
}

function isPiece(frame: Frame): boolean {
  return frame.type === "ai_response" && frame.metadata?.streaming === "true";
}

/** A message that takes the place of one that is shown. */
function continuing(fresh: Message, shown: Message | undefined): Message {
  return shown ? { ...fresh, generation: generationOf(fresh.content, shown) } : fresh;
}

/** A text with a piece that begins at `length`; by far the most begin at its end. */
function lengthened(message: Message, length: number | undefined, piece: string): Pick<Message, "content" | "generation"> {
  const { content, generation } = message;
  if (length === undefined || length === content.length) return { content: content + piece, generation };
  const text = content.slice(0, length) + piece;
  return { content: text, generation: generationOf(text, message) };
}

function generationOf(content: string, { content: shown, generation }: Message): number {
  return content.startsWith(shown) ? generation : generation + 1;
}
