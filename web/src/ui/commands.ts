import type { Session } from "../api";
import { t } from "../i18n/locale";
import type { MenuItem } from "./menu";

/** What can be done with a conversation, wherever it is named. */
export type Command = "rename" | "share" | "markdown" | "json" | "delete";

export interface CommandDetail {
  command: Command;
  session: Session;
}

export function commandItems(): MenuItem[] {
  const items: (MenuItem & { id: Command })[] = [
    { id: "rename", label: t("rename"), icon: "edit" },
    { id: "share", label: t("share"), icon: "share" },
    { id: "markdown", label: t("exportMarkdown"), icon: "download" },
    { id: "json", label: t("exportJson"), icon: "download" },
    { id: "delete", label: t("delete"), icon: "trash", danger: true },
  ];
  return items;
}

/** An event that asks for a command; it bubbles up to the page. */
export function commandEvent(command: string, session: Session): CustomEvent<CommandDetail> {
  return new CustomEvent("command", { detail: { command: command as Command, session }, bubbles: true, composed: true });
}
