import type { HelpState } from "../chat/facts";
import { Log } from "../chat/log";
import { unsent, type Message } from "../chat/message";
import type { Outbox, Unsent } from "../chat/outbox";
import type { Reading } from "../chat/reader";
import { Typing } from "../chat/typing";
import { Unfinished } from "../chat/unfinished";
import type { Store } from "../storage";
import { newId, type FrameError } from "../wire/frames";
import { Assistance } from "./assistance";
import type { Colleague, StaffFrame, StaffSession } from "./frames";

/** After so many gaps without progress between them, the whole conversation is read again. */
const GAPS = 3;
/** How long `watch` may go unanswered before it is asked again, ms. */
const PATIENCE = 10_000;
const LATER = 3_000;
/** A conversation of fewer messages is read sooner than its summary. */
const WORTH_A_SUMMARY = 4;
/** What staff write, by its frame. */
const KINDS: Record<string, Message["kind"]> = { user_message: "text", note: "note" };

/** What a watched conversation needs, and whom it tells. */
export interface ConversationParts {
  me: Colleague;
  store: Store;
  outbox: Outbox;
  /** false where there is no line */
  send(frame: StaffFrame): boolean;
  ask(frame: StaffFrame): Promise<StaffFrame>;
  changed(): void;
}

/** One conversation that this member of staff watches, and what they do in it. */
export class Conversation {
  readonly log = new Log();
  session: StaffSession | null = null;
  /** who has it; null while the AI does */
  holder: Colleague | null = null;
  help: HelpState = "none";
  reading: Reading = "reading";
  /** the last refusal that no message shows: a code */
  problem: string | null = null;
  deleted = false;
  /** who types, besides this reader */
  typist = "";
  readonly assistance: Assistance;
  /** what is being written */
  readonly unfinished: Record<"reply" | "note", Unfinished>;
  private readonly typing: Typing;
  private gaps = 0;
  private loadingEarlier = false;
  /** the `watch` that was not answered yet */
  private watching: string | null = null;
  private patience: ReturnType<typeof setTimeout> | undefined;
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();

  constructor(
    readonly id: string,
    private readonly parts: ConversationParts,
  ) {
    this.typing = new Typing(() => parts.changed());
    this.assistance = new Assistance(id, parts.send, parts.changed);
    const unfinished = (what: string): Unfinished => new Unfinished(parts.store, `chatbox.staff.${what}.${parts.me.id}.${id}`);
    this.unfinished = { reply: unfinished("reply"), note: unfinished("note") };
  }

  get held(): boolean {
    return this.holder?.id === this.parts.me.id;
  }

  get othersType(): boolean {
    return this.typing.active;
  }

  /** Taking over, giving back or handing on is under way. */
  get moving(): boolean {
    return this.unacknowledged.some(({ frame }) => frame.type !== "user_message" && frame.type !== "note");
  }

  /** Something is due from the server. */
  get waiting(): boolean {
    return this.log.streaming !== undefined || this.log.expected !== null || this.unacknowledged.length > 0 || this.assistance.waiting;
  }

  /** Watch, from where this reader has got to. */
  watch(): void {
    clearTimeout(this.patience);
    if (this.deleted) return;
    const { epoch, position } = this.log;
    const known = epoch === null ? {} : { epoch, last_seq: position };
    const message_id = newId();
    if (!this.parts.send({ type: "watch", session_id: this.id, message_id, ...known })) return;
    this.watching = message_id;
    this.watchIn(PATIENCE);
  }

  /** Whether a frame of this id came from here and is not settled. */
  sent(id: string | undefined): boolean {
    return id !== undefined && (id === this.watching || this.unacknowledged.some(({ frame }) => frame.message_id === id));
  }

  close(): void {
    clearTimeout(this.patience);
    for (const timer of this.timers) clearTimeout(timer);
    this.typing.clear();
    this.parts.send({ type: "unwatch", session_id: this.id });
  }

  /** The line is gone. */
  lost(): void {
    clearTimeout(this.patience);
    this.typing.clear();
    this.assistance.lost();
  }

  say(content: string): void {
    this.typing.rest();
    this.write({ type: "user_message", content });
  }

  note(content: string): void {
    this.write({ type: "note", content });
  }

  takeOver(): void {
    this.command({ type: "admin_join" }, { event: "admin_join", ...this.mine });
  }

  handBack(): void {
    this.command({ type: "admin_leave" }, { event: "admin_leave", ...this.mine });
  }

  transfer(to: Colleague): void {
    const { id, name } = this.parts.me;
    const line = { event: "admin_join", admin_id: to.id, admin_name: to.name, from_id: id, from_name: name };
    this.command({ type: "transfer", user_id: to.id }, line);
  }

  typed(): void {
    if (this.held && this.typing.due()) this.parts.send({ type: "typing_indicator", session_id: this.id });
  }

  /** Send a refused message again, as a new one: the server may know the old id. */
  retry(message: Message): void {
    this.log.drop(message.id);
    if (message.kind === "note") this.note(message.content);
    else this.say(message.content);
  }

  discard(message: Message): void {
    this.parts.outbox.remove(message.id);
    this.log.drop(message.id);
    this.parts.changed();
  }

  dismiss(): void {
    this.problem = null;
    this.parts.changed();
  }

  async readEarlier(): Promise<void> {
    const { before } = this.log;
    if (before === null || this.loadingEarlier) return;
    this.loadingEarlier = true;
    const page = await this.parts.ask({ type: "history", session_id: this.id, before }).catch(() => null);
    this.loadingEarlier = false;
    if (page && this.log.before === before) this.log.prepend({ messages: page.messages ?? [], before: page.before ?? null });
    if (!page) this.problem = "UNREACHABLE";
    this.parts.changed();
  }

  /** What is known of the session beside its log. Who has it is what the log says. */
  know(session: StaffSession): void {
    this.session = { ...session, context: session.context ?? this.session?.context ?? {} };
  }

  gone(): void {
    this.deleted = true;
    this.unfinished.reply.text = this.unfinished.note.text = "";
    this.lost();
  }

  frame(frame: StaffFrame): void {
    if (frame.type === "connection_status") return this.begin(frame);
    if (this.assistance.take(frame)) return;
    if (frame.type === "error") return this.refused(frame);
    const taken = this.log.take(frame);
    if (taken === "gap") return this.mendGap();
    if (frame.type === "ack") this.acknowledged(frame.message_id ?? "");
    if (taken === "applied") this.follow(frame);
  }

  /** Without an id nobody asked for it: then what follows has gaps, and those are mended. */
  private begin(frame: StaffFrame): void {
    if (!frame.message_id) return;
    clearTimeout(this.patience);
    this.watching = null;
    const resumed = frame.metadata?.resumed === "true" && this.log.epoch !== null;
    if (!resumed) this.load(frame);
    this.reading = "read";
    if (frame.session) {
      this.know(frame.session);
      this.help = frame.session.help_state as HelpState;
      this.holder = holderOf(frame.session);
    }
    for (const waiting of this.unacknowledged) this.show(waiting);
    for (const waiting of this.unacknowledged) this.parts.send(waiting.frame);
  }

  private load(frame: StaffFrame): void {
    this.log.restart(frame.seq ?? 0, frame.epoch ?? null);
    this.log.load({ messages: frame.messages ?? [], before: frame.before ?? null });
  }

  private follow(frame: StaffFrame): void {
    if (frame.seq !== undefined) this.gaps = 0;
    switch (frame.type) {
      case "typing_indicator":
        this.typist = frame.sender === "admin" ? (frame.metadata?.admin_name ?? "") : "";
        return this.typing.seen();
      case "user_message":
        return this.typing.clear();
      case "admin_join":
      case "admin_leave":
        return this.moved({ ...frame.metadata, event: frame.type });
      case "notification":
        return this.moved(frame.metadata ?? {});
    }
  }

  private moved({ event, admin_id, admin_name, state }: Record<string, string>): void {
    if (event === "session_deleted") return this.gone();
    if (event === "help_state") this.help = (state ?? "none") as HelpState;
    if (event !== "admin_join" && event !== "admin_leave") return;
    this.holder = event === "admin_join" ? { id: admin_id ?? "", name: admin_name ?? "" } : null;
    this.help = event === "admin_join" ? "joined" : "none";
  }

  private acknowledged(id: string): void {
    if (!this.parts.outbox.remove(id)) return;
    const message = this.log.get(id);
    if (message?.kind !== "event") return;
    this.moved(message.metadata);
    if (this.held) this.begun();
  }

  /** This member of staff has just taken it over: what is it about? */
  private begun(): void {
    const texts = this.log.messages.filter(({ kind, state }) => kind === "text" && state === "done");
    if (texts.length >= WORTH_A_SUMMARY) this.assistance.ask("summary");
  }

  private refused({ message_id: id = "", error }: StaffFrame): void {
    if (!error || error.code.startsWith("LLM_")) return;
    if (id === this.watching) return this.unwatched(error);
    const waiting = this.unacknowledged.find(({ frame }) => frame.message_id === id);
    const later = error.retry_after ?? (error.code === "DATABASE_ERROR" || error.code === "SERVICE_ERROR" ? LATER : null);
    if (waiting && later !== null) return this.sendLater(waiting, later);
    this.parts.outbox.remove(id);
    const message = this.log.get(id);
    if (message?.kind === "event") this.log.drop(id);
    if (message && message.kind !== "event") this.log.fail(id, error.code);
    else this.problem = error.code;
  }

  private unwatched({ code, retry_after }: FrameError): void {
    this.watching = null;
    if (code === "NOT_FOUND") return this.gone();
    if (this.reading !== "read") this.reading = "failed";
    this.watchIn(retry_after ?? PATIENCE);
  }

  private watchIn(ms: number): void {
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.watch(), ms);
  }

  private sendLater(waiting: Unsent, ms: number): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (this.unacknowledged.includes(waiting)) this.parts.send(waiting.frame);
    }, ms);
    this.timers.add(timer);
  }

  private write(frame: StaffFrame): void {
    const waiting = this.enqueue(frame);
    this.parts.outbox.add(waiting);
    this.parts.send(waiting.frame);
    this.show(waiting);
    this.parts.changed();
  }

  /** A command that comes late does harm, so none is kept for a line that is not there. */
  private command(frame: StaffFrame, line: Record<string, string>): void {
    if (this.moving) return;
    const waiting = this.enqueue(frame);
    this.problem = null;
    if (this.parts.send(waiting.frame)) {
      this.parts.outbox.add(waiting);
      this.log.addUnsent({ ...unsent(waiting.frame.message_id, "", waiting.at), sender: "system", kind: "event", metadata: line });
    } else this.problem = "UNREACHABLE";
    this.parts.changed();
  }

  private enqueue(frame: StaffFrame): Unsent {
    return { frame: { ...frame, session_id: this.id, message_id: newId() }, sessionId: this.id, at: new Date().toISOString() };
  }

  private show({ frame, at }: Unsent): void {
    const kind = KINDS[frame.type];
    if (kind) this.log.addUnsent(unsent(frame.message_id, frame.content ?? "", at, { sender: "admin", kind, metadata: this.mine }));
  }

  private get mine(): Record<string, string> {
    return { admin_id: this.parts.me.id, admin_name: this.parts.me.name };
  }

  private mendGap(): void {
    if (++this.gaps > GAPS) {
      this.gaps = 0;
      this.log.epoch = null;
    }
    this.watch();
  }

  private get unacknowledged(): Unsent[] {
    return this.parts.outbox.of(this.id);
  }
}

function holderOf({ assisting_admin_id: id, assisting_admin_name: name }: StaffSession): Colleague | null {
  return id ? { id, name: name || id } : null;
}
