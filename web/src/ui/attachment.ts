import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Message } from "../chat/message";
import { Localized, t } from "../i18n/locale";
import { icon } from "./icons";
import { base } from "./styles";

/** A file of the conversation as a card. Nothing is loaded before it is opened. */
@customElement("chatbox-attachment")
export class AttachmentView extends LitElement {
  static override styles = [
    base,
    css`
      a, div {
        display: inline-flex;
        align-items: center;
        gap: 0.8rem;
        max-width: 100%;
        padding: 0.65rem 1rem 0.65rem 0.75rem;
        border: 1px solid var(--chatbox-line);
        border-radius: var(--chatbox-radius);
        background: var(--chatbox-surface);
        color: inherit;
        text-decoration: none;
      }
      a:hover {
        border-color: var(--chatbox-accent);
      }
      .sign {
        display: grid;
        place-items: center;
        width: 2.3rem;
        height: 2.3rem;
        border-radius: 9px;
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
      }
      .name {
        display: block;
        font-weight: 550;
        overflow-wrap: anywhere;
        line-height: 1.35;
      }
      .note {
        display: block;
        font-size: 0.8rem;
        color: var(--chatbox-ink-soft);
      }
    `,
  ];

  @property({ attribute: false }) message!: Message;

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    const url = openable(this.message.fileUrl);
    const { metadata, content } = this.message;
    const name = content || metadata.filename || t("file");
    const inside = html`<span class="sign">${icon("file")}</span>
      <span><span class="name">${name}</span>
      <span class="note">${url ? t("fileOpen", { host: url.host }) : (metadata.mime_type ?? "")}</span></span>`;
    return url ? html`<a href=${url.href} target="_blank" rel="noopener noreferrer">${inside}</a>` : html`<div>${inside}</div>`;
  }
}

function openable(address: string | null): URL | null {
  try {
    const url = new URL(address ?? "", document.baseURI);
    return address && ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}
