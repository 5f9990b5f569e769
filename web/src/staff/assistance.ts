import { newId } from "../wire/frames";
import type { StaffFrame } from "./frames";

/** What the model can write for staff: the next reply, or what a conversation is about. */
export type Help = "suggestion" | "summary";

/** A text of the model that only this reader sees. */
export interface Draft {
  text: string;
  state: "writing" | "done" | "failed";
}

const ASKS: Record<Help, string> = { suggestion: "suggest", summary: "summarise" };

/** The model as this reader's assistant in one conversation. Nothing that it writes is sent by itself. */
export class Assistance {
  private readonly drafts: Record<Help, Draft | null> = { suggestion: null, summary: null };
  private readonly asked = new Map<string, Help>();

  constructor(
    private readonly sessionId: string,
    private readonly send: (frame: StaffFrame) => boolean,
    private readonly changed: () => void,
  ) {}

  get suggestion(): Draft | null {
    return this.drafts.suggestion;
  }

  get summary(): Draft | null {
    return this.drafts.summary;
  }

  get waiting(): boolean {
    return this.asked.size > 0;
  }

  ask(help: Help): void {
    this.drop(help);
    const message_id = newId();
    const sent = this.send({ type: ASKS[help], session_id: this.sessionId, message_id });
    this.drafts[help] = { text: "", state: sent ? "writing" : "failed" };
    if (sent) this.asked.set(message_id, help);
    this.changed();
  }

  /** The reader has used it, or does not want it. */
  drop(help: Help): void {
    this.drafts[help] = null;
    for (const [id, asked] of this.asked) if (asked === help) this.asked.delete(id);
    this.changed();
  }

  /** Whether a frame is a piece of what was asked for, or its refusal. */
  take(frame: StaffFrame): boolean {
    const id = frame.message_id ?? "";
    const help = this.asked.get(id);
    if (help === undefined) return frame.type === "suggestion" || frame.type === "summary";
    const text = (this.drafts[help]?.text ?? "") + (frame.content ?? "");
    const failed = frame.type === "error";
    const done = failed || frame.metadata?.done === "true";
    if (done) this.asked.delete(id);
    this.drafts[help] = { text, state: failed ? "failed" : done ? "done" : "writing" };
    return true;
  }

  /** The line is gone: what was not finished never will be. */
  lost(): void {
    for (const help of this.asked.values()) this.drafts[help] = { text: this.drafts[help]?.text ?? "", state: "failed" };
    this.asked.clear();
  }
}
