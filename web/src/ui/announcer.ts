import type { Message } from "../chat/message";
import { t } from "../i18n/locale";

/** How much of an answer a screen reader is told by itself; the rest is in the conversation. */
const LENGTH = 600;

/** Finds what a screen reader should say: each answer once, when it is complete, and nothing of the past. */
export class Announcer {
  private readonly said = new Set<string>();
  private text = "";

  /** These are known to the reader. */
  silence(messages: readonly Message[]): void {
    for (const { id, state } of messages) if (state !== "streaming") this.said.add(id);
    this.text = "";
  }

  /** What to say now; the same text again as long as nothing new is complete. */
  next(messages: readonly Message[], live: boolean): string {
    if (!live) {
      this.silence(messages);
      return this.text;
    }
    const fresh = messages.filter((message) => message.state === "done" && !this.said.has(message.id));
    for (const message of fresh) {
      this.said.add(message.id);
      if (message.sender !== "user" && message.content) this.text = t("answerDone", { text: message.content.slice(0, LENGTH) });
    }
    return this.text;
  }
}
