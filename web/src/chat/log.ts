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

  get(id: string): Message | undefined {
    return this.byId.get(id);
  }

  /** The answer that is being written, if any. */
  get streaming(): Message | undefined {
    return this.messages.findLast((message) => message.state === "streaming");
  }

  /** Begin at a position about which nothing is known; what was not acknowledged stays. */
  restart(position: number, epoch: string | null): void {
    this.position = position;
    this.epoch = epoch;
    this.before = null;
    this.expected = null;
    this.replaceAll(this.messages.filter((message) => message.state === "sending" || message.state === "failed"));
  }

  /** History read by HTTP, after `restart`: it may overlap what has come since. */
  load(history: Pick<History, "messages" | "before">): void {
    const known = this.messages;
    this.before = history.before;
    this.replaceAll(history.messages.map(fromStored));
    for (const message of known) {
      const stored = this.byId.get(message.id);
      if (!stored) this.insert(message);
    }
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
    if (frame.seq !== undefined) {
      if (frame.seq <= this.position) return this.again(frame);
      if ((frame.prev ?? frame.seq - 1) !== this.position) return "gap";
      this.position = frame.seq;
    }
    this.apply(frame);
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

  retry(id: string): void {
    const message = this.byId.get(id);
    if (message?.state === "failed") this.change(message, { state: "sending", problem: null });
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

  private again(frame: Frame): Taken {
    if (frame.type === "ack") this.acknowledge(frame);
    return "seen";
  }

  private apply(frame: Frame): void {
    switch (frame.type) {
      case "ack":
        return this.acknowledge(frame);
      case "loading":
        this.expected = { id: frame.message_id ?? null, replaces: frame.metadata?.replaces ?? null };
        return this.supersede(this.expected.replaces);
      case "ai_response":
        return frame.metadata?.streaming === "true" ? this.piece(frame) : this.whole(frame);
      case "user_message":
      case "file_upload":
      case "voice_message":
      case "admin_join":
      case "admin_leave":
      case "notification":
        if (frame.message_id) this.upsert(fromFrame(frame));
    }
  }

  private acknowledge(frame: Frame): void {
    const message = frame.message_id ? this.byId.get(frame.message_id) : undefined;
    if (!message || message.seq !== null) return;
    this.change(message, { state: "done", problem: null, seq: frame.seq ?? null, timestamp: frame.timestamp ?? message.timestamp });
    this.messages = this.messages.filter((other) => other !== message);
    this.insert(message);
  }

  private piece(frame: Frame): void {
    const id = frame.message_id ?? "";
    const message = this.byId.get(id) ?? this.begin(id, frame);
    if (message.state !== "streaming") return;
    this.change(message, { content: message.content + (frame.content ?? ""), seq: frame.seq ?? null });
    if (frame.metadata?.done === "true") this.finish(message, frame);
  }

  private begin(id: string, frame: Frame): Message {
    const replaces = frame.metadata?.replaces ?? this.expected?.replaces ?? null;
    const message = answer(id, replaces, frame.timestamp ?? new Date().toISOString());
    this.insert(message);
    this.supersede(replaces);
    this.expected = null;
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
    this.supersede(message.replaces);
  }

  private whole(frame: Frame): void {
    if (!this.expected?.id || this.expected.id === frame.message_id) this.expected = null;
    this.upsert(fromFrame(frame));
    this.supersede(frame.metadata?.replaces ?? null);
  }

  private upsert(fresh: Message): void {
    const known = this.byId.get(fresh.id);
    if (!known) return this.insert(fresh);
    const generation = known.generation + (known.content === fresh.content ? 0 : 1);
    this.change(known, { ...fresh, generation, superseded: known.superseded || fresh.superseded });
  }

  /** The log's order; what is not acknowledged stays last. */
  private insert(message: Message): void {
    this.byId.set(message.id, message);
    const end = message.state === "sending" ? -1 : this.messages.findIndex((other) => other.state === "sending");
    this.messages.splice(end < 0 ? this.messages.length : end, 0, message);
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
