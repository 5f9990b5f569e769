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
  /** what `GET sessions?limit=1` says; null when nothing answers */
  probe(): Promise<Probe | null>;
  client(): string;
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

/** A socket that lived this long counts as a success: the next wait is short again. */
const LIVED = 5_000;
const PROBE_PATIENCE = 4_000;

/** Keeps one socket to the server and comes back when it is lost. What was missed is the conversation's business. */
export class Connection implements LineEvents {
  private line: Line | null = null;
  private successor: Line | null = null;
  /** What the old socket says while its successor is being opened: the successor repeats it. */
  private held: Frame[] | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private drainTimer: ReturnType<typeof setTimeout> | undefined;
  private openedAt = Infinity;
  /** the line that closed last had been of use */
  private lived = false;
  private current: LinkState = { is: "connecting" };
  private offline = false;
  private readonly backoff: Backoff;

  constructor(
    private readonly around: Surroundings,
    private readonly events: ConnectionEvents,
  ) {
    this.backoff = new Backoff(around.random);
  }

  get state(): LinkState {
    return this.offline && this.current.is !== "stopped" ? { is: "offline" } : this.current;
  }

  /** Open a socket now, leaving any other: at the start, for another session, after a gap, or on request. */
  connect(): void {
    this.leave();
    this.line = this.dial();
    if (this.line) this.become({ is: "connecting" });
  }

  /** Leave for good. */
  close(): void {
    this.leave();
  }

  /** False before the first frame has come, and without a line; the frame is not kept. */
  send(frame: Frame): boolean {
    return this.current.is === "open" && (this.line?.send(frame) ?? false);
  }

  /** A new token is there: use it, or tell the server. */
  renewed(): void {
    if (this.line?.isOpen) this.line.send({ type: "auth", content: this.around.token() ?? "" });
    else if (this.current.is === "token") this.connect();
  }

  network(online: boolean): void {
    this.offline = !online;
    if (online) this.look();
    this.events.state(this.state);
  }

  /** The page is looked at again, or the network is back: don't wait for timers that may have slept. */
  look(): void {
    if (this.line?.isOpen) this.line.probe(PROBE_PATIENCE);
    else if (this.current.is === "waiting") this.connect();
  }

  frame(line: Line, frame: Frame): void {
    if (line === this.successor && frame.type === "connection_status") this.promote();
    if (line !== this.line) return;
    if (this.held) this.held.push(frame);
    else this.deliver(frame);
  }

  closed(line: Line, code: number, opened: boolean): void {
    if (line === this.successor) return this.keepOld();
    if (line !== this.line) return;
    if (this.successor) {
      this.promote();
      return this.become({ is: "connecting" });
    }
    this.line = null;
    this.events.lost(code);
    this.lived = Date.now() - this.openedAt > LIVED;
    this.openedAt = Infinity;
    if (this.lived) this.backoff.reset();
    if (opened) this.follow(afterClose(code));
    else void this.ask();
  }

  private deliver(frame: Frame): void {
    if (frame.type === "connection_status") {
      this.openedAt = Date.now();
      this.become({ is: "open" });
    }
    if (frame.type === "notification" && frame.metadata?.event === "drain") this.prepareSuccessor(frame);
    this.events.frame(frame);
  }

  private dial(): Line | null {
    const token = this.around.token();
    if (token === null) {
      this.follow({ act: "token" });
      return null;
    }
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
        return this.lived ? this.connect() : this.wait(this.backoff.next());
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

  private wait(ms: number): void {
    this.timer = setTimeout(() => this.connect(), ms);
    this.become({ is: "waiting", until: Date.now() + ms });
  }

  private prepareSuccessor(frame: Frame): void {
    const spread = frame.error?.retry_after ?? Number(frame.metadata?.retry_after ?? 0);
    clearTimeout(this.drainTimer);
    this.drainTimer = setTimeout(() => {
      this.held = [];
      this.successor = this.dial();
      if (!this.successor) this.keepOld();
    }, spread * 0.8 * this.around.random());
  }

  private promote(): void {
    this.line?.drop();
    this.line = this.successor;
    this.successor = this.held = null;
  }

  private keepOld(): void {
    const held = this.held ?? [];
    this.successor = this.held = null;
    for (const frame of held) this.deliver(frame);
  }

  private leave(): void {
    clearTimeout(this.timer);
    clearTimeout(this.drainTimer);
    this.line?.drop();
    this.successor?.drop();
    this.line = this.successor = this.held = null;
  }

  private become(state: LinkState): void {
    this.current = state;
    this.events.state(this.state);
  }
}
