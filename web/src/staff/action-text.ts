import { s, type StaffKey } from "./i18n/texts";

const WORDS: Record<string, StaffKey> = {
  watch: "actOpen",
  read: "actOpen",
  read_notes: "actReadNotes",
  takeover: "actTakeover",
  release: "actRelease",
  transfer: "actTransfer",
  message: "actMessage",
  note: "actNote",
  suggestion: "actSuggestion",
  summary: "actSummary",
  block: "actBlock",
  unblock: "actUnblock",
  revoke: "actRevoke",
  write_canned: "actWriteCanned",
  remove_canned: "actRemoveCanned",
  export_audit: "actExportAudit",
  retry_alert: "actRetryAlert",
};

/** What an entry of the audit log says was done; an action without words is shown by its name. */
export function actionText(action: string): string {
  const key = WORDS[action];
  return key ? s(key) : action;
}
