import type { Message } from "../chat/message";
import { t } from "../i18n/locale";
import { when } from "../i18n/times";
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
      return joinText(nameOf(metadata), metadata.from_name);
    case "admin_leave":
      return leaveText(nameOf(metadata), metadata.reason);
    case "help_state":
      return helpText(metadata);
    default:
      return "";
  }
}

function modelName(id: string, models: readonly Model[]): string {
  return models.find((model) => model.id === id)?.name ?? id;
}

function nameOf({ admin_name }: Record<string, string>): string {
  return admin_name || t("staff");
}

function joinText(name: string, from: string | undefined): string {
  return from === undefined ? t("eventJoin", { name }) : t("eventTransfer", { name, from: from || t("staff") });
}

function leaveText(name: string, reason: string | undefined): string {
  if (reason === "released") return t("eventLeaveReleased", { name });
  if (reason === "away") return t("eventLeaveAway", { name });
  return t(reason === "ended" ? "eventLeaveEnded" : "eventLeave", { name });
}

function helpText({ state, at, open, opens_at: opensAt, email }: Record<string, string>): string {
  if (state === "none") return t("eventHelpNone");
  if (state !== "asked" && state !== "told") return "";
  if (at) return t("eventHelpTold", { when: when(at) });
  if (open === "false") return opensAt ? t("helpClosedUntil", { when: when(opensAt) }) : t("helpClosed");
  if (state === "told") return t("eventHelpToldSometime");
  return email ? t("eventHelpEmail", { email }) : t("eventHelpAsked");
}
