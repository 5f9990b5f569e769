import type { Message } from "../chat/message";
import { t } from "../i18n/locale";
import { s } from "./i18n/texts";

/** What a line about the conversation says to staff; empty for what is not shown. `me` is the reader's own id. */
export function eventText({ metadata, state }: Message, me: string): string {
  if (state !== "done") return "";
  switch (metadata.event) {
    case "admin_join":
      return joined(metadata, me);
    case "admin_leave":
      return left(metadata, me);
    case "help_state":
      return helpText(metadata);
    case "session_renamed":
      return t("eventRenamed", { name: metadata.name ?? "" });
    case "model_changed":
      return t("eventModel", { name: metadata.model_id ?? "" });
    case "session_ended":
      return s("eventEnded");
    default:
      return "";
  }
}

function joined({ admin_id, admin_name = "", from_name }: Record<string, string>, me: string): string {
  if (from_name && admin_id === me) return s("eventGivenToYou", { from: from_name });
  if (from_name) return s("eventGiven", { from: from_name, name: admin_name });
  return admin_id === me ? s("eventYouJoined") : s("eventJoined", { name: admin_name });
}

function left({ admin_id, admin_name = "", reason }: Record<string, string>, me: string): string {
  if (reason === "away") return s("eventAway", { name: admin_name });
  if (reason === "released") return s("eventReleased", { name: admin_name });
  return admin_id === me ? s("eventYouLeft") : s("eventLeft", { name: admin_name });
}

function helpText({ state, open }: Record<string, string>): string {
  if (state === "asked") return open === "false" ? s("eventAskedClosed") : s("eventAsked");
  if (state === "told") return s("eventTold");
  return state === "none" ? s("eventNoHelp") : "";
}
