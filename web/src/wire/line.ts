import { parseFrame, type Frame } from "./frames";

export interface LineEvents {
  /** the reader waits for something, so silence is suspicious sooner */
  readonly waiting: boolean;
  frame(line: Line, frame: Frame): void;
  /** `opened` is false when the handshake failed. Called once; never after `drop`. */
  closed(line: Line, code: number, opened: boolean): void;
}

/** All in ms. A dead line is found within a silence and the patience. */
export interface Heartbeat {
  /** silence after which a ping is sent */
  every: number;
  /** the same while the reader waits for something */
  waiting: number;
  /** how long an answer may take */
  patience: number;
}

export type OpenSocket = (url: string, protocols: string[]) => WebSocket;

const ABNORMAL = 1006;

/** One WebSocket that notices when it is dead: silence is answered by a ping, an unanswered ping ends the line. */
export class Line {
  private readonly socket: WebSocket;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** when `timer` is due, in the time of `performance.now` */
  private due = 0;
  private opened = false;
  private dropped = false;
  private pinged = false;

  constructor(
    url: string,
    protocols: string[],
    private readonly events: LineEvents,
    private readonly heartbeat: Heartbeat,
    open: OpenSocket,
  ) {
    this.socket = open(url, protocols);
    this.socket.onopen = () => this.onOpen();
    this.socket.onmessage = (event) => this.onMessage(event);
    this.socket.onclose = (event) => this.end(event.code);
    this.expectWithin(this.heartbeat.patience);
  }

  get isOpen(): boolean {
    return this.opened && !this.dropped && this.socket.readyState === 1;
  }

  send(frame: Frame): boolean {
    if (!this.isOpen) return false;
    this.socket.send(JSON.stringify(frame));
    if (frame.message_id && !this.pinged) this.hasten(this.heartbeat.waiting);
    return true;
  }

  /** Find out soon whether the other side is still there. */
  probe(patience = this.heartbeat.patience): void {
    if (this.pinged && this.due <= performance.now() + patience) return;
    if (!this.send({ type: "ping" })) return;
    this.pinged = true;
    this.expectWithin(patience);
  }

  /** Close without telling `events`. */
  drop(): void {
    this.dropped = true;
    clearTimeout(this.timer);
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  private onOpen(): void {
    this.opened = true;
    this.listen();
  }

  private onMessage(event: MessageEvent): void {
    this.pinged = false;
    const frame = parseFrame(event.data);
    if (frame && frame.type !== "pong") this.events.frame(this, frame);
    if (!this.dropped) this.listen();
  }

  private listen(): void {
    const { every, waiting } = this.heartbeat;
    this.within(this.events.waiting ? waiting : every, () => this.probe());
  }

  /** An answer is due to what was sent. */
  private hasten(ms: number): void {
    if (this.due > performance.now() + ms) this.within(ms, () => this.probe());
  }

  private expectWithin(ms: number): void {
    this.within(ms, () => this.end(ABNORMAL));
  }

  private within(ms: number, then: () => void): void {
    clearTimeout(this.timer);
    this.due = performance.now() + ms;
    this.timer = setTimeout(then, ms);
  }

  private end(code: number): void {
    if (this.dropped) return;
    this.drop();
    this.events.closed(this, code, this.opened);
  }
}
