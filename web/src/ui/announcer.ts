import type { Message } from "../chat/message";
import { t } from "../i18n/locale";

/** What is said of a complete message; nothing when it is "". */
type Words = (message: Message) => string;

/** How much of an answer a screen reader is told by itself; the rest is in the conversation. */
const LENGTH = 600;

/** Finds what a screen reader should say: each answer once, when it is complete, and nothing of the past. */
export class Announcer {
  private readonly said = new Set<string>();
  private text = "";

  constructor(private readonly words: Words = ofAnswer) {}

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
      this.text = this.words(message) || this.text;
    }
    return this.text;
  }
}

function ofAnswer({ sender, content }: Message): string {
  return sender !== "user" && content ? t("answerDone", { text: content.slice(0, LENGTH) }) : "";
}
