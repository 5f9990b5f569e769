import type { History } from "../api";
import { Connection, type ConnectionEvents, type LinkState, type Place } from "../wire/connection";
import { newId, type Frame, type Model } from "../wire/frames";
import { Facts, type HelpState } from "./facts";
import { Log } from "./log";
import { unsent, type Message } from "./message";
import { Outbox, type Unsent } from "./outbox";
import type { ChatParts } from "./parts";
import { Reader, type Reading } from "./reader";
import { Typing, type Typist } from "./typing";
import { Unfinished } from "./unfinished";

/** After so many gaps without progress between them, the whole conversation is read again. */
const GAPS = 3;

/** One user's chat in this page: a connection, the log it fills and what still has to be sent. */
export class Chat implements ConnectionEvents {
  log = new Log();
  facts = new Facts();
  sessionId: string | null = null;
  models: Model[] = [];
  /** the last refusal that no message shows */
  problem: string | null = null;
  /** what is being written */
  readonly unfinished: Unfinished;

  private wanted: string | null = null;
  private readonly client = newId();
  private readonly connection: Connection;
  private readonly outbox: Outbox;
  private readonly typing: Typing;
  private readonly reader: Reader;
  private gaps = 0;
  private told = false;
  private loadingEarlier = false;
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();

  constructor(private readonly parts: ChatParts) {
    this.unfinished = new Unfinished(parts.store, `chatbox.unfinished.${parts.userId}`);
    this.outbox = new Outbox(parts.store, `chatbox.unsent.${parts.userId}`);
    this.typing = new Typing(() => this.touch());
    this.reader = new Reader(parts.api, parts.around.random, () => this.touch());
    this.connection = new Connection(
      {
        ...parts.around,
        place: () => this.place(),
        waiting: () => this.answering || this.unacknowledged.length > 0,
        probe: () => parts.api.probe(),
        client: () => this.client,
      },
      this,
    );
  }

  get link(): LinkState {
    return this.connection.state;
  }

  get reading(): Reading {
    return this.reader.state;
  }

  /** Somebody else who is typing. */
  get typist(): Typist | null {
    return this.typing.by;
  }

  /** Whether a person was asked for: what was said last, also before the server has agreed. */
  get help(): HelpState {
    const last = this.unacknowledged.findLast(({ frame }) => frame.type.startsWith("help_"))?.frame.type;
    if (last === "help_cancel") return "none";
    return last && this.facts.help === "none" ? "asked" : this.facts.help;
  }

  /** The model that answers: the one that was chosen last, also before the server has agreed. */
  get modelId(): string | null {
    return this.unacknowledged.findLast(({ frame }) => frame.type === "model_select")?.frame.model_id ?? this.facts.modelId;
  }

  /** An answer is running or announced. */
  get answering(): boolean {
    return this.log.expected !== null || this.log.streaming !== undefined;
  }

  /** Go to a session: an id, "new", or null for the active one (or the one that has unsent messages). */
  open(sessionId: string | null): void {
    this.wanted = sessionId ?? this.outbox.owing;
    this.sessionId = this.problem = null;
    this.log = new Log();
    this.facts = new Facts();
    this.reader.reset();
    this.connection.connect();
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.reader.reset();
    this.typing.clear();
    this.connection.close();
  }

  reconnect(): void {
    this.connection.connect();
  }

  tokenRenewed(): void {
    this.connection.renewed();
  }

  network(online: boolean): void {
    this.connection.network(online);
  }

  look(): void {
    this.connection.look();
  }

  say(content: string): void {
    const at = new Date().toISOString();
    const id = this.enqueue({ type: "user_message", content }, at);
    this.typing.rest();
    this.log.addUnsent(unsent(id, content, at));
    this.touch();
  }

  stop(): void {
    const target = this.log.streaming?.id ?? this.log.expected?.id;
    this.enqueue({ type: "stop", ...(target && { metadata: { target } }) });
  }

  regenerate(): void {
    this.enqueue({ type: "regenerate" });
  }

  selectModel(id: string): void {
    this.enqueue({ type: "model_select", model_id: id });
  }

  /** Ask for a person, or leave an address with a call that is waiting. Asking twice is asking once. */
  askForHelp(email = ""): void {
    if (email || this.help === "none") this.enqueue({ type: "help_request", ...(email && { metadata: { email } }) });
  }

  cancelHelp(): void {
    this.enqueue({ type: "help_cancel" });
  }

  typed(): void {
    if (this.typing.due()) this.connection.send({ type: "typing_indicator" });
  }

  /** Send a refused message again, as a new one: the server may know the old id. */
  retry(message: Message): void {
    this.log.drop(message.id);
    this.say(message.content);
  }

  discard(message: Message): void {
    this.outbox.remove(message.id);
    this.log.drop(message.id);
    this.touch();
  }

  dismiss(): void {
    this.problem = null;
    this.touch();
  }

  async readEarlier(): Promise<void> {
    const { sessionId, log } = this;
    const { before } = log;
    if (sessionId === null || before === null || this.loadingEarlier) return;
    this.loadingEarlier = true;
    const page = await this.parts.api.history(sessionId, before).catch(() => null);
    this.loadingEarlier = false;
    if (page && log.before === before) log.prepend(page);
    this.touch();
  }

  async read(): Promise<void> {
    if (this.sessionId !== null) await this.reader.read(this.sessionId, (history) => this.take(history));
  }

  // What the connection tells.

  state(): void {
    this.touch();
  }

  needToken(): void {
    this.parts.needToken(true);
  }

  lost(code: number): void {
    this.typing.clear();
    if (code === 1009) this.refuseAll("too_big");
  }

  frame(frame: Frame): void {
    if (frame.type === "connection_status") return this.begin(frame);
    if (frame.session_id && frame.session_id !== this.sessionId) return;
    const taken = this.log.take(frame);
    if (taken === "gap") return this.mendGap();
    if (taken === "applied") this.follow(frame);
    if (frame.type === "ack" && frame.message_id) this.acknowledged(frame.message_id, taken === "applied");
    this.touch();
  }

  private begin(frame: Frame): void {
    const asked = this.wanted;
    const id = frame.session_id ?? asked ?? "";
    const moved = id !== this.sessionId;
    this.outbox.adopt(id, null);
    if (asked !== null && asked !== "new" && asked !== id) this.outbox.adopt(id, asked);
    this.sessionId = this.wanted = id;
    this.models = frame.models ?? [];
    if (moved) this.leaveOther();
    this.facts.begin(frame);
    this.typing.clear();
    if (frame.metadata?.resumed !== "true" || this.log.epoch === null) this.startReading(frame);
    else this.goOn();
    if (moved) this.parts.named(id, asked === "new");
    for (const waiting of this.unacknowledged) this.showUnsent(waiting);
    for (const waiting of this.unacknowledged) this.connection.send(waiting.frame);
    this.touch();
  }

  private leaveOther(): void {
    this.facts = new Facts();
    this.log.forget();
  }

  private goOn(): void {
    if (this.reader.state === "failed") void this.read();
    this.parts.activity();
  }

  private startReading(frame: Frame): void {
    this.log.restart(frame.seq ?? 0, frame.epoch ?? null);
    this.reader.reset();
    if (frame.seq) return void this.read();
    this.log.load({ messages: [], before: null });
    this.reader.skip();
  }

  private take(history: History): void {
    if (history.epoch !== this.log.epoch) return this.startOver();
    this.facts.read(history);
    this.log.load(history);
  }

  /** What a command has changed is told once more, by a notification. A line that is cut between the two loses it. */
  private acknowledged(id: string, fresh: boolean): void {
    const waiting = this.outbox.remove(id);
    const metadata = waiting && changeOf(waiting.frame);
    if (!metadata || !fresh) return;
    const { content = "" } = waiting.frame;
    const change: Frame = { type: "notification", message_id: id, content, sender: "system", timestamp: waiting.at, metadata };
    this.log.take(change);
    this.facts.take(change, this.log.position);
  }

  /** What a frame means beside its place in the log. */
  private follow(frame: Frame): void {
    if (frame.seq !== undefined) this.gaps = 0;
    if (frame.metadata?.event === "token_expiring") this.parts.needToken(false);
    if (frame.seq !== undefined && frame.metadata?.done !== "false") this.parts.activity();
    this.facts.take(frame, this.log.position);
    switch (frame.type) {
      case "typing_indicator":
        return this.others(frame);
      case "user_message":
        return this.typing.clear(frame.sender);
      case "admin_leave":
        return this.typing.clear("admin");
      case "error":
        return this.refused(frame);
    }
  }

  /** Staff are seen typing while they have the conversation. */
  private others({ sender = "user", metadata }: Frame): void {
    if (sender !== "admin" || this.facts.staffName !== null) this.typing.seen({ sender, name: metadata?.admin_name ?? "" });
  }

  private refused(frame: Frame): void {
    const { message_id: id, error } = frame;
    // How an answer failed is said by its last piece.
    if (!error || error.code.startsWith("LLM_")) return;
    const later = error.retry_after ?? (error.code === "DATABASE_ERROR" || error.code === "SERVICE_ERROR" ? 3_000 : null);
    const waiting = this.unacknowledged.find((unsent) => unsent.frame.message_id === id);
    if (waiting && later !== null && waiting.frame.type === "user_message") return this.sendLater(waiting, later);
    if (id) this.outbox.remove(id);
    if (id && this.log.get(id)) this.log.fail(id, error.code);
    else this.problem = problemOf(waiting?.frame.type, error.code);
  }

  private sendLater(waiting: Unsent, ms: number): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      if (this.unacknowledged.includes(waiting)) this.connection.send(waiting.frame);
    }, ms);
    this.timers.add(timer);
  }

  private refuseAll(problem: string): void {
    for (const { frame } of this.unacknowledged) {
      this.outbox.remove(frame.message_id);
      this.log.fail(frame.message_id, problem);
    }
  }

  private enqueue(command: Frame, at = new Date().toISOString()): string {
    const message_id = newId();
    const waiting: Unsent = { frame: { ...command, message_id }, sessionId: this.sessionId, at };
    // A command that comes late does harm; a message does not.
    if (this.connection.send(waiting.frame) || command.type === "user_message") this.outbox.add(waiting);
    else this.problem = "UNREACHABLE";
    this.touch();
    return message_id;
  }

  private showUnsent({ frame, at }: Unsent): void {
    if (frame.type === "user_message") this.log.addUnsent(unsent(frame.message_id, frame.content ?? "", at));
  }

  private mendGap(): void {
    if (++this.gaps > GAPS) this.startOver();
    else this.connection.resume();
  }

  private startOver(): void {
    this.gaps = 0;
    this.log.epoch = null;
    this.connection.resume();
  }

  private get unacknowledged(): Unsent[] {
    return this.outbox.of(this.sessionId ?? "");
  }

  private place(): Place {
    const here = this.sessionId !== null && this.log.epoch !== null;
    return { sessionId: this.wanted, epoch: here ? this.log.epoch : null, lastSeq: here ? this.log.position : null };
  }

  private touch(): void {
    if (this.told) return;
    this.told = true;
    this.parts.soon(() => {
      this.told = false;
      this.parts.changed();
    });
  }
}

/** The metadata of the notification that a command is stored as. */
function changeOf({ type, model_id, metadata }: Frame): Record<string, string> | null {
  switch (type) {
    case "model_select":
      return { event: "model_changed", model_id: model_id ?? "" };
    case "help_request":
      return { event: "help_state", state: "asked", ...metadata };
    case "help_cancel":
      return { event: "help_state", state: "none" };
    default:
      return null;
  }
}

/** What a refusal means where that depends on the command. */
function problemOf(command: string | undefined, code: string): string {
  if (command === "regenerate" && code === "CONFLICT") return "again";
  return command === "help_request" && code === "INVALID_FORMAT" ? "email" : code;
}
