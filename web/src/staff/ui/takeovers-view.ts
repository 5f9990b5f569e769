import { html } from "lit";
import { customElement } from "lit/decorators.js";
import type { Takeover } from "../api";
import { s } from "../i18n/texts";
import { timer } from "../lasting";
import { passed, RecordsView, type Column } from "./records-view";

/** Who had which conversation, from when to when. */
@customElement("chatbox-takeovers")
export class TakeoversView extends RecordsView<Takeover> {
  protected readonly heading = "takeovers";
  protected readonly none = ["hand", "takeoversNone"] as const;
  protected readonly columns: Column<Takeover>[] = [
    { title: "begin", kind: "when", cell: ({ start }) => passed(start) },
    { title: "lasted", kind: "when", cell: lasted },
    { title: "staffMember", cell: ({ admin_name }) => admin_name },
    { title: "user", cell: ({ user_id }) => user_id },
    { title: "staffMessages", kind: "number", cell: ({ messages }) => messages },
    { title: "conversation", silent: true, cell: ({ session_id }) => this.renderOpener(session_id) },
  ];
}

function lasted({ start, end }: Takeover): unknown {
  return end ? timer((Date.parse(end) - Date.parse(start)) / 1000) : html`<span class="chip staff">${s("goesOn")}</span>`;
}
