import { html, type TemplateResult } from "lit";
import { icon } from "../../ui/icons";
import { s } from "../i18n/texts";

/** What is shown in the place of something that could not be read. */
export function trouble(problem: string | null, again: () => void): TemplateResult {
  const text = problem === "TOO_MANY_REQUESTS" ? s("rateLimited") : problem === "UNREACHABLE" ? s("unreachable") : s("notRead");
  return html`<div class="message" role="alert">
    ${icon(problem === "TOO_MANY_REQUESTS" ? "clock" : "warning")}
    <p>${text}</p>
    <button class="link" @click=${again}>${s("again")}</button>
  </div>`;
}

/** What is shown where there is nothing yet. */
export function nothingHere(sign: Parameters<typeof icon>[0], text: string): TemplateResult {
  return html`<div class="message">${icon(sign)}<p>${text}</p></div>`;
}
