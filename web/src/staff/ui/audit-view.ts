import { html, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { download } from "../../ui/browser";
import { icon } from "../../ui/icons";
import { actionText } from "../action-text";
import type { Act } from "../api";
import { s } from "../i18n/texts";
import { passed, RecordsView, type Column } from "./records-view";

/** What staff did. */
@customElement("chatbox-audit")
export class AuditView extends RecordsView<Act> {
  /** reads the whole log as a file */
  @property({ attribute: false }) export!: () => Promise<Blob>;
  @property({ type: Boolean }) admin = false;
  @state() private failed = false;
  protected readonly heading = "audit";
  protected readonly none = ["audit", "auditNone"] as const;
  protected readonly columns: Column<Act>[] = [
    { title: "time", kind: "when", cell: ({ time }) => passed(time) },
    { title: "staffMember", cell: ({ admin_name, admin_id }) => admin_name || admin_id },
    { title: "action", cell: act },
    { title: "conversation", silent: true, cell: ({ session_id }) => this.renderOpener(session_id) },
  ];

  protected override renderTools(): TemplateResult | typeof nothing {
    return this.admin ? html`<button class="button small" @click=${this.save}>${icon("download")} ${s("export")}</button>` : nothing;
  }

  protected override renderAbout(): TemplateResult | typeof nothing {
    return this.failed ? html`<p class="trouble" role="alert">${s("actionFailed")}</p>` : nothing;
  }

  private async save(): Promise<void> {
    const file = await this.export().catch(() => null);
    this.failed = file === null;
    if (file) download(file, "audit.jsonl");
  }
}

function act({ action, refused, user_id, detail }: Act): TemplateResult {
  const known = Object.entries({ [s("user")]: user_id, ...detail }).filter(([, value]) => value);
  return html`${actionText(action)} ${refused ? html`<span class="chip help">${s("refused")}</span>` : nothing}
  ${known.length > 0 ? html`<div class="detail">${known.map(([key, value]) => `${key}: ${value}`).join(" · ")}</div>` : nothing}`;
}
