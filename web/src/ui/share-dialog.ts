import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import type { Session } from "../api";
import type { Sessions } from "../chat/sessions";
import { Localized, t } from "../i18n/locale";
import { copyText } from "./browser";
import { icon } from "./icons";
import { sharedPath } from "./routes";
import { base } from "./styles";

/** Makes, copies and withdraws a conversation's public link. Tells `close`. */
@customElement("chatbox-share-dialog")
export class ShareDialog extends LitElement {
  static override styles = [
    base,
    css`
      dialog {
        width: min(30rem, calc(100vw - 2rem));
        padding: 1.4rem 1.5rem 1.5rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 20px;
        background: var(--chatbox-raised);
        color: var(--chatbox-ink);
        box-shadow: var(--chatbox-shadow);
      }
      dialog::backdrop {
        background: light-dark(#1d232166, #000a);
      }
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        margin: -0.3rem -0.6rem 0.5rem 0;
      }
      h2 {
        font-size: 1.15rem;
        font-weight: 650;
        letter-spacing: -0.01em;
      }
      .about {
        color: var(--chatbox-ink-soft);
        font-size: 0.92rem;
      }
      .link-row {
        display: flex;
        gap: 0.5rem;
        margin-top: 1.1rem;
      }
      input {
        flex: 1;
        min-width: 0;
        height: 2.6rem;
        padding: 0 0.8rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 10px;
        background: var(--chatbox-page);
        font: 0.82rem var(--chatbox-font-code);
      }
      .buttons {
        display: flex;
        justify-content: flex-end;
        gap: 0.6rem;
        margin-top: 1.3rem;
      }
      .danger {
        color: var(--chatbox-bad);
      }
      .said {
        min-height: 1.4rem;
        margin-top: 0.6rem;
        font-size: 0.85rem;
        color: var(--chatbox-ink-soft);
      }
    `,
  ];

  @property({ attribute: false }) sessions!: Sessions;
  @property({ attribute: false }) session!: Session;
  @state() private token: string | null = null;
  @state() private said = "";
  @query("dialog") private readonly dialog!: HTMLDialogElement;
  @query("input") private readonly field!: HTMLInputElement | null;

  constructor() {
    super();
    new Localized(this);
  }

  protected override firstUpdated(): void {
    this.token = this.session.share_token ?? null;
    this.dialog.showModal();
  }

  protected override render(): TemplateResult {
    return html`<dialog aria-labelledby="title" @close=${() => this.dispatchEvent(new CustomEvent("close"))} @click=${this.onBackdrop}>
      <header>
        <h2 id="title">${t("shareTitle")}</h2>
        <button class="icon" aria-label=${t("close")} @click=${() => this.dialog.close()}>${icon("close")}</button>
      </header>
      <p class="about">${t("shareText")}</p>
      ${this.token ? this.renderLink(this.token) : nothing}
      <p class="said" role="status">${this.said}</p>
      <div class="buttons">
        ${this.token
          ? html`<button class="button danger" @click=${this.revoke}>${t("shareRevoke")}</button>`
          : html`<button class="button primary" autofocus @click=${this.create}>${t("shareCreate")}</button>`}
      </div>
    </dialog>`;
  }

  private renderLink(token: string): TemplateResult {
    return html`<div class="link-row">
      <input readonly aria-label=${t("shareLink")} .value=${new URL(sharedPath(token), document.baseURI).href} @focus=${() => this.field?.select()} />
      <button class="button primary" @click=${this.copy}>${t("copyLink")}</button>
    </div>`;
  }

  private async create(): Promise<void> {
    await this.attempt(async () => {
      this.token = await this.sessions.share(this.session.id);
      this.said = "";
    });
    await this.updateComplete;
    this.field?.focus();
  }

  private async revoke(): Promise<void> {
    await this.attempt(async () => {
      await this.sessions.unshare(this.session.id);
      this.token = null;
      this.said = t("shareRevoked");
    });
  }

  private async copy(): Promise<void> {
    this.field?.select();
    if (await copyText(this.field?.value ?? "")) this.said = t("copied");
  }

  private async attempt(action: () => Promise<void>): Promise<void> {
    await action().catch(() => (this.said = t("actionFailed")));
  }

  private onBackdrop(event: MouseEvent): void {
    if (event.target === this.dialog && !inside(event, this.dialog.getBoundingClientRect())) this.dialog.close();
  }
}

function inside({ clientX, clientY }: MouseEvent, { left, right, top, bottom }: DOMRect): boolean {
  return clientX >= left && clientX <= right && clientY >= top && clientY <= bottom;
}
