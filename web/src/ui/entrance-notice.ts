import { html, type TemplateResult } from "lit";
import { t } from "../i18n/locale";
import type { Entrance } from "./entrance";
import "./notice-page";

/** What is shown before there is a token; null once there is one. */
export function entranceNotice({ stage, settings, hasHost }: Pick<Entrance, "stage" | "settings" | "hasHost">): TemplateResult | null {
  switch (stage) {
    case "start":
      return html``;
    case "unreachable":
      return html`<chatbox-notice icon="cloud" heading=${t("unreachableTitle")} text=${t("unreachableText")}></chatbox-notice>`;
    case "signin": {
      const note = hasHost ? t("signInWaiting") : settings?.mode === "development" ? t("signInDevelopment") : "";
      return html`<chatbox-notice icon="lock" heading=${t("signInTitle")} text=${t("signInText")} note=${note}></chatbox-notice>`;
    }
    case "ready":
      return null;
  }
}
