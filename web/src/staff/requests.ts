import { newId } from "../wire/frames";
import type { StaffFrame } from "./frames";

/** How long an answer may take, ms. */
const PATIENCE = 20_000;

/** A question to the server that was not answered. `code` is UNREACHABLE where nothing came; `retryAfter` is in ms. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    readonly retryAfter?: number,
  ) {
    super(code);
  }
}

/** Why something was not answered. */
export function codeOf(problem: Error): string {
  return problem instanceof Refused ? problem.code : "SERVICE_ERROR";
}

interface Pending {
  resolve(answer: StaffFrame): void;
  reject(problem: Refused): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Questions on the socket, each with the answer of the same id. */
export class Requests {
  private readonly pending = new Map<string, Pending>();

  constructor(private readonly send: (frame: StaffFrame) => boolean) {}

  get open(): boolean {
    return this.pending.size > 0;
  }

  /** Rejects with `Refused`. */
  ask(question: StaffFrame): Promise<StaffFrame> {
    const message_id = newId();
    if (!this.send({ ...question, message_id })) return Promise.reject(new Refused("UNREACHABLE"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.settle({ type: "error", message_id, error: { code: "UNREACHABLE", message: "" } }), PATIENCE);
      this.pending.set(message_id, { resolve, reject, timer });
    });
  }

  /** Whether a frame answers a question. */
  settle(frame: StaffFrame): boolean {
    const id = frame.message_id ?? "";
    const asked = this.pending.get(id);
    if (!asked) return false;
    this.pending.delete(id);
    clearTimeout(asked.timer);
    if (frame.type === "error") asked.reject(new Refused(frame.error?.code ?? "SERVICE_ERROR", frame.error?.retry_after));
    else asked.resolve(frame);
    return true;
  }

  /** The line is gone: nothing is answered any more. */
  fail(): void {
    for (const message_id of this.pending.keys()) this.settle({ type: "error", message_id, error: { code: "UNREACHABLE", message: "" } });
  }
}
