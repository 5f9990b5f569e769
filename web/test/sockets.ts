import type { Frame } from "../src/wire/frames";

/** Stands where the browser's WebSocket would: the test plays the server. */
export class FakeSocket {
  static all: FakeSocket[] = [];

  static open = (url: string, protocols: string[]): WebSocket => new FakeSocket(url, protocols) as unknown as WebSocket;

  readyState = 0;
  sent: Frame[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.all.push(this);
  }

  static get last(): FakeSocket {
    return FakeSocket.all.at(-1)!;
  }

  get query(): URLSearchParams {
    return new URL(this.url).searchParams;
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Frame);
  }

  close(): void {
    this.readyState = 3;
  }

  // What the server does.

  accept(status: Partial<Frame> = {}): this {
    this.readyState = 1;
    this.onopen?.();
    return this.say({ type: "connection_status", session_id: "s1", epoch: "e1", seq: 0, metadata: { resumed: "false" }, ...status });
  }

  say(frame: Frame): this {
    this.onmessage?.({ data: JSON.stringify(frame) });
    return this;
  }

  end(code = 1006): void {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}
