import { parseFrame, type Frame } from "./frames";

export interface LineEvents {
  frame(line: Line, frame: Frame): void;
  /** `opened` is false when the handshake failed. Called once; never after `drop`. */
  closed(line: Line, code: number, opened: boolean): void;
}

export interface Heartbeat {
  /** silence after which a ping is sent, ms */
  every: number;
  /** how long an answer may take, ms */
  patience: number;
}

export type OpenSocket = (url: string, protocols: string[]) => WebSocket;

const ABNORMAL = 1006;

/** One WebSocket that notices when it is dead: silence is answered by a ping, an unanswered ping ends the line. */
export class Line {
  private readonly socket: WebSocket;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private opened = false;
  private dropped = false;

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
    return true;
  }

  /** Find out soon whether the other side is still there. */
  probe(patience = this.heartbeat.patience): void {
    if (this.send({ type: "ping" })) this.expectWithin(patience);
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
    this.listen();
    const frame = parseFrame(event.data);
    if (frame && frame.type !== "pong") this.events.frame(this, frame);
  }

  private listen(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.probe(), this.heartbeat.every);
  }

  private expectWithin(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.end(ABNORMAL), ms);
  }

  private end(code: number): void {
    if (this.dropped) return;
    this.drop();
    this.events.closed(this, code, this.opened);
  }
}
