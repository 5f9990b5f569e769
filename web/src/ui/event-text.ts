import type { Message } from "../chat/message";
import { t } from "../i18n/locale";
import type { Model } from "../wire/frames";

/** What a line about the conversation says; empty for events that are not shown. */
export function eventText({ metadata }: Message, models: readonly Model[]): string {
  switch (metadata.event) {
    case "session_renamed":
      return t("eventRenamed", { name: metadata.name ?? "" });
    case "model_changed":
      return t("eventModel", { name: modelName(metadata.model_id ?? "", models) });
    case "session_ended":
      return t("eventEnded");
    case "admin_join":
      return t("eventJoin", { name: metadata.admin_name || t("staff") });
    case "admin_leave":
      return t("eventLeave", { name: metadata.admin_name || t("staff") });
    case "help_state":
      return helpText(metadata.state ?? "none");
    default:
      return "";
  }
}

function modelName(id: string, models: readonly Model[]): string {
  return models.find((model) => model.id === id)?.name ?? id;
}

function helpText(state: string): string {
  if (state === "asked") return t("eventHelpAsked");
  if (state === "told") return t("eventHelpTold");
  return state === "none" ? t("eventHelpNone") : "";
}
