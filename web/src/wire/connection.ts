import { Backoff } from "./backoff";
import type { Frame } from "./frames";
import { Line, type Heartbeat, type LineEvents, type OpenSocket } from "./line";
import { afterClose, afterProbe, type Probe, type Verdict } from "./verdict";

/** Where a socket goes on: `sessionId` null is the active session, "new" a fresh one; `lastSeq` null asks for no history. */
export interface Place {
  sessionId: string | null;
  epoch: string | null;
  lastSeq: number | null;
}

export type LinkState =
  | { is: "connecting" }
  | { is: "open" }
  | { is: "waiting"; until: number }
  | { is: "offline" }
  | { is: "token" }
  | { is: "stopped"; reason: "forbidden" | "abuse" | "deleted" };

/** What a connection needs from its surroundings. */
export interface Surroundings {
  /** address of the socket for a place; `client` tells this tab's sockets from others' */
  url(place: Place, client: string): string;
  token(): string | null;
  place(): Place;
  /** whether the reader waits for something: then a dead line is looked for sooner */
  waiting(): boolean;
  /** what `GET sessions?limit=1` says; null when nothing answers */
  probe(): Promise<Probe | null>;
  client(): string;
  /** the type of a socket's first frame; `connection_status` unless it is said */
  greeting?: string;
  open: OpenSocket;
  random: () => number;
  heartbeat: Heartbeat;
}

export interface ConnectionEvents {
  state(state: LinkState): void;
  frame(frame: Frame): void;
  needToken(): void;
  /** the line is gone; `code` is its close code */
  lost(code: number): void;
}

/** A socket that lived this long counts as a success: the next wait is short again. To come back without any wait is
 *  allowed once in this time. */
const LIVED = 5_000;
const PROBE_PATIENCE = 4_000;
/** Close code of a socket whose successor is attached already: its first word is on the way. */
const REPLACED = 4409;

/**
 * Keeps one socket to the server and comes back when it is lost. What was missed is the conversation's business.
 *
 * When a server drains there are two for a moment: the old one is heard until its successor has said its first word.
 */
export class Connection implements LineEvents {
  private line: Line | null = null;
  private successor: Line | null = null;
  /** the line that has said its first word */
  private greeted: Line | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private moveTimer: ReturnType<typeof setTimeout> | undefined;
  private openedAt = Infinity;
  private hurriedAt = -Infinity;
  private current: LinkState = { is: "connecting" };
  private offline = false;
  private readonly backoff: Backoff;
  private readonly moveBackoff: Backoff;

  constructor(
    private readonly around: Surroundings,
    private readonly events: ConnectionEvents,
  ) {
    this.backoff = new Backoff(around.random);
    this.moveBackoff = new Backoff(around.random, 1_000, 5_000);
  }

  get state(): LinkState {
    return this.offline && this.current.is !== "stopped" ? { is: "offline" } : this.current;
  }

  get waiting(): boolean {
    return this.around.waiting();
  }

  /** Open a socket now, leaving any other: at the start, for another session, or on request. */
  connect(): void {
    this.leave();
    this.line = this.dial();
    if (this.line) this.become({ is: "connecting" });
    else this.follow({ act: "token" });
  }

  /** Something is missing: come back and let the server repeat it. */
  resume(): void {
    this.leave();
    this.hurry();
  }

  /** Leave for good. */
  close(): void {
    this.leave();
  }

  /** False before the first frame has come, and without a line; the frame is not kept. */
  send(frame: Frame): boolean {
    return this.line !== null && this.line === this.greeted && this.line.send(frame);
  }

  /** A new token is there: use it, or tell the server. */
  renewed(): void {
    if (this.line?.isOpen) this.line.send({ type: "auth", content: this.around.token() ?? "" });
    else if (this.current.is === "token") this.connect();
  }

  network(online: boolean): void {
    this.offline = !online;
    if (online && !this.line?.isOpen && this.current.is === "connecting") this.connect();
    else if (online) this.look();
    this.events.state(this.state);
  }

  /** The page is looked at again, or the network is back: don't wait for timers that may have slept. */
  look(): void {
    if (this.line?.isOpen) this.line.probe(PROBE_PATIENCE);
    else if (this.current.is === "waiting" || (this.current.is === "connecting" && this.line === null)) this.connect();
  }

  // What the lines tell.

  frame(line: Line, frame: Frame): void {
    if (line === this.successor && this.greets(frame)) this.promote();
    if (line === this.line) this.deliver(frame);
  }

  closed(line: Line, code: number, opened: boolean): void {
    if (line === this.successor) return this.keepOld();
    if (line !== this.line) return;
    this.line = null;
    this.events.lost(code);
    const verdict = afterClose(code);
    if (this.successor && (verdict.act === "now" || verdict.act === "retry")) {
      this.promote();
      return code === REPLACED ? undefined : this.become({ is: "connecting" });
    }
    this.leave();
    if (Date.now() - this.openedAt > LIVED) this.backoff.reset();
    this.openedAt = Infinity;
    if (opened) this.follow(verdict);
    else void this.ask();
  }

  private deliver(frame: Frame): void {
    if (this.greets(frame)) {
      this.greeted = this.line;
      this.openedAt = Date.now();
      this.become({ is: "open" });
    }
    if (frame.type === "notification" && frame.metadata?.event === "drain") this.moveIn(hintOf(frame));
    this.events.frame(frame);
  }

  private greets({ type }: Frame): boolean {
    return type === (this.around.greeting ?? "connection_status");
  }

  private dial(): Line | null {
    const token = this.around.token();
    if (token === null) return null;
    const url = this.around.url(this.around.place(), this.around.client());
    return new Line(url, ["chatbox.v1", `bearer.${token}`], this, this.around.heartbeat, this.around.open);
  }

  private async ask(): Promise<void> {
    this.become({ is: "connecting" });
    const probe = await this.around.probe();
    if (this.line === null && this.current.is === "connecting") this.follow(afterProbe(probe));
  }

  private follow(verdict: Verdict): void {
    switch (verdict.act) {
      case "now":
        return this.hurry();
      case "retry":
        return this.wait(this.backoff.next());
      case "wait":
        return this.wait(verdict.ms * (1 + this.around.random() / 4));
      case "token":
        this.become({ is: "token" });
        return this.events.needToken();
      case "stop":
        return this.become({ is: "stopped", reason: verdict.reason });
    }
  }

  private hurry(): void {
    const again = Date.now() - this.hurriedAt < LIVED;
    this.hurriedAt = Date.now();
    if (again) this.wait(this.backoff.next());
    else this.connect();
  }

  private wait(ms: number): void {
    this.timer = setTimeout(() => this.connect(), ms);
    this.become({ is: "waiting", until: Date.now() + ms });
  }

  // Moving to another server before this one closes.

  private moveIn(ms: number): void {
    clearTimeout(this.moveTimer);
    this.moveTimer = setTimeout(() => (this.successor ??= this.dial()), ms);
  }

  private promote(): void {
    this.line?.drop();
    this.line = this.successor;
    this.successor = null;
    this.moveBackoff.reset();
  }

  /** The successor was refused, as by a server that restarts alone: the old one may last until another try succeeds. */
  private keepOld(): void {
    this.successor = null;
    this.moveIn(this.moveBackoff.next());
  }

  private leave(): void {
    clearTimeout(this.timer);
    clearTimeout(this.moveTimer);
    this.line?.drop();
    this.successor?.drop();
    this.line = this.successor = null;
  }

  private become(state: LinkState): void {
    this.current = state;
    this.events.state(this.state);
  }
}

function hintOf({ metadata }: Frame): number {
  return Math.max(0, Number(metadata?.retry_after)) || 0;
}
