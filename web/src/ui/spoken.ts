import type { Message } from "../chat/message";
import { t } from "../i18n/locale";
import { eventText } from "./event-text";

/** How much of a text a screen reader is told by itself; the rest is in the conversation. */
const LENGTH = 600;

/** What a screen reader is told by itself: answers, the words of staff, and who comes and goes. */
export function spoken(message: Message): string {
  const { kind, sender, metadata } = message;
  const text = message.content.slice(0, LENGTH);
  if (kind === "event") return metadata.event?.startsWith("admin_") ? eventText(message, []) : "";
  if (sender === "admin") return text && `${metadata.admin_name || t("staff")}: ${text}`;
  return sender === "ai" && text ? t("answerDone", { text }) : "";
}
