import { html, type TemplateResult } from "lit";
import { icon } from "../../ui/icons";
import { s, type StaffKey } from "../i18n/texts";

const WORDS: Record<string, StaffKey> = { TOO_MANY_REQUESTS: "rateLimited", UNREACHABLE: "unreachable" };

/** Why something could not be read. */
export function troubleText(problem: string | null): string {
  return s(WORDS[problem ?? ""] ?? "notRead");
}

/** What is shown in the place of something that could not be read. */
export function trouble(problem: string | null, again: () => void): TemplateResult {
  return html`<div class="message" role="alert">
    ${icon(problem === "TOO_MANY_REQUESTS" ? "clock" : "warning")}
    <p>${troubleText(problem)}</p>
    <button class="link" @click=${again}>${s("again")}</button>
  </div>`;
}

/** What is shown where there is nothing yet. */
export function nothingHere(sign: Parameters<typeof icon>[0], text: string): TemplateResult {
  return html`<div class="message">${icon(sign)}<p>${text}</p></div>`;
}
