import { s, type StaffKey } from "./i18n/texts";

const WORDS: Record<string, StaffKey> = {
  help: "alertHelp",
  help_unanswered: "alertHelpUnanswered",
  help_reminder: "alertHelpReminder",
  llm_failing: "alertLlm",
  database_failing: "alertDatabase",
  crashed: "alertCrashed",
  traffic: "alertTraffic",
  digest: "alertDigest",
};

/** What an alert is about; one without words is shown by its name. */
export function alertText(event: string): string {
  const key = WORDS[event];
  return key ? s(key) : event;
}
