import { Outbox } from "../chat/outbox";
import type { Store } from "../storage";
import { Connection, type ConnectionEvents, type LinkState, type Surroundings } from "../wire/connection";
import { newId } from "../wire/frames";
import type { Probe } from "../wire/verdict";
import { Conversation } from "./conversation";
import type { Colleague, StaffFrame, StaffSession } from "./frames";
import { Pace } from "./pace";
import { Queue } from "./queue";
import { Report } from "./report";
import { Requests } from "./requests";
import { SessionList } from "./session-list";

/** What the desk needs, and whom it tells. */
export interface DeskParts {
  me: Colleague;
  store: Store;
  /** a new token is needed; `refused`: the server does not take the present one */
  needToken(refused: boolean): void;
  /** something that is shown has changed; called at most once a frame */
  changed(): void;
  /** somebody asks for help who did not before */
  called(sessions: StaffSession[]): void;
  probe(): Promise<Probe | null>;
  around: Pick<Surroundings, "url" | "token" | "open" | "random" | "heartbeat">;
  /** run soon, together with others; the page's animation frame */
  soon(run: () => void): void;
}

/** One member of staff at work: a socket, who waits for help, the list of all sessions, and the conversations that they
 *  have open. */
export class Desk implements ConnectionEvents {
  colleagues: Colleague[] = [];
  role = "";
  readonly queue = new Queue();
  readonly list: SessionList;
  readonly report: Report;
  readonly conversations = new Map<string, Conversation>();
  /** something was heard on a socket */
  ready = false;
  private readonly client = newId();
  private readonly connection: Connection;
  private readonly requests: Requests;
  private readonly pace: Pace;
  private readonly outbox: Outbox;
  private told = false;

  constructor(private readonly parts: DeskParts) {
    this.pace = new Pace((frame) => this.connection.send(frame));
    this.requests = new Requests((frame) => this.send(frame));
    this.outbox = new Outbox(parts.store, `chatbox.staff.unsent.${parts.me.id}`);
    const ask = (frame: StaffFrame): Promise<StaffFrame> => this.requests.ask(frame);
    this.list = new SessionList(ask, () => this.touch());
    this.report = new Report(ask, () => this.touch());
    this.connection = new Connection(
      {
        ...parts.around,
        greeting: "staff_status",
        place: () => ({ sessionId: null, epoch: null, lastSeq: null }),
        waiting: () => this.requests.open || [...this.conversations.values()].some(({ waiting }) => waiting),
        probe: () => parts.probe(),
        client: () => this.client,
      },
      this,
    );
  }

  get me(): Colleague {
    return this.parts.me;
  }

  get link(): LinkState {
    return this.connection.state;
  }

  /** Colleagues to whom a conversation can be given. */
  get others(): Colleague[] {
    return this.colleagues.filter(({ id }) => id !== this.me.id);
  }

  start(): void {
    this.connection.connect();
  }

  close(): void {
    this.connection.close();
    this.pace.stop();
    this.requests.fail();
    this.list.close();
    this.report.hide();
    for (const conversation of this.conversations.values()) conversation.lost();
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
    this.report.refresh();
  }

  /** Have exactly these conversations open. */
  open(ids: readonly string[]): void {
    for (const [id, conversation] of this.conversations) if (!ids.includes(id)) this.shut(conversation);
    for (const id of ids) if (!this.conversations.has(id)) this.begin(id);
    this.touch();
  }

  find(id: string): StaffSession | undefined {
    return this.conversations.get(id)?.session ?? this.list.find(id) ?? this.queue.sessions.find((session) => session.id === id);
  }

  /** The other sessions of a user, newest first. */
  async sessionsOf(userId: string): Promise<StaffSession[]> {
    const metadata = { user_id: userId, sort_by: "last_activity", sort_order: "desc", limit: "50" };
    return (await this.requests.ask({ type: "list", metadata })).sessions ?? [];
  }

  // What the connection tells.

  state(): void {
    this.touch();
  }

  needToken(): void {
    this.parts.needToken(true);
  }

  lost(): void {
    this.pace.clear();
    this.requests.fail();
    for (const conversation of this.conversations.values()) conversation.lost();
  }

  frame(frame: StaffFrame): void {
    if (!this.requests.settle(frame)) this.take(frame);
    this.touch();
  }

  private take(frame: StaffFrame): void {
    switch (frame.type) {
      case "staff_status":
        return this.greeted(frame);
      case "staff_update":
        this.colleagues = frame.staff ?? [];
        return;
      case "help_update":
        return this.waiting(frame);
      case "session_update":
        return this.news(frame);
    }
    if (frame.metadata?.event === "token_expiring") this.parts.needToken(false);
    if (frame.metadata?.event === "news_lost") this.list.read();
    if (frame.session_id) this.conversations.get(frame.session_id)?.frame(frame);
    else if (frame.type === "error") this.unnamed(frame);
  }

  private greeted(frame: StaffFrame): void {
    this.lost();
    this.ready = true;
    this.role = frame.metadata?.role ?? this.role;
    this.colleagues = frame.staff ?? [];
    this.waiting(frame);
    for (const conversation of this.conversations.values()) conversation.watch();
    this.list.read();
    this.report.refresh();
  }

  private waiting(frame: StaffFrame): void {
    const fresh = this.queue.take(frame);
    if (fresh.length > 0) this.parts.called(fresh);
  }

  private news({ session_id: id = "", session, metadata }: StaffFrame): void {
    if (metadata?.deleted === "true") {
      this.conversations.get(id)?.gone();
      return this.list.gone(id);
    }
    if (!session) return;
    this.queue.know(session);
    this.list.know(session, metadata?.preview);
    this.conversations.get(id)?.know(session);
  }

  /** An error that names no session belongs to the conversation that sent the frame, if any did. */
  private unnamed(frame: StaffFrame): void {
    for (const conversation of this.conversations.values()) if (conversation.sent(frame.message_id)) conversation.frame(frame);
  }

  private begin(id: string): void {
    const conversation = new Conversation(id, {
      me: this.me,
      store: this.parts.store,
      outbox: this.outbox,
      send: (frame) => this.send(frame),
      ask: (frame) => this.requests.ask(frame),
      changed: () => this.touch(),
    });
    const known = this.find(id);
    if (known) conversation.know(known);
    this.conversations.set(id, conversation);
    conversation.watch();
  }

  private shut(conversation: Conversation): void {
    this.conversations.delete(conversation.id);
    conversation.close();
  }

  private send(frame: StaffFrame): boolean {
    if (this.link.is !== "open") return false;
    this.pace.push(frame);
    return true;
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
