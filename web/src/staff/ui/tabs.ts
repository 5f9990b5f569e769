import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { Conversation } from "../conversation";
import { s } from "../i18n/texts";
import { staffStyles } from "./staff-styles";

/** The open conversations, one of them in front. Tells `show` and `close` with an id, and `columns`. */
@customElement("chatbox-tabs")
export class Tabs extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: flex;
        align-items: stretch;
        height: 2.9rem;
        border-bottom: 1px solid var(--chatbox-line);
        background: var(--chatbox-side);
      }
      ul {
        display: flex;
        flex: 1;
        min-width: 0;
        overflow-x: auto;
        list-style: none;
        scrollbar-width: none;
      }
      li {
        display: flex;
        align-items: center;
        flex: 0 1 13rem;
        min-width: 7rem;
        border-right: 1px solid var(--chatbox-line);
      }
      li.current {
        background: var(--chatbox-page);
        box-shadow: inset 0 2px 0 var(--chatbox-accent);
      }
      .tab {
        display: flex;
        align-items: center;
        gap: 0.4rem;
        flex: 1;
        min-width: 0;
        height: 100%;
        padding-left: 0.8rem;
        font-size: 0.86rem;
        font-weight: 520;
        text-align: left;
        outline-offset: -3px;
      }
      .name {
        overflow: hidden;
        white-space: nowrap;
        text-overflow: ellipsis;
      }
      .mark {
        flex: none;
        width: 0.5rem;
        height: 0.5rem;
        border-radius: 50%;
      }
      .mark.mine {
        background: var(--chatbox-accent);
      }
      .mark.help {
        background: var(--chatbox-bad);
      }
      .mark.news {
        background: var(--chatbox-warm);
      }
      li .icon {
        width: 1.9rem;
        height: 1.9rem;
        margin-right: 0.2rem;
      }
      li .icon svg {
        width: 0.95rem;
        height: 0.95rem;
      }
      .icon.columns {
        align-self: center;
        width: 2.2rem;
        height: 2.2rem;
        margin: 0 0.35rem;
      }
      .icon.columns[aria-pressed="true"] {
        background: var(--chatbox-tint);
        color: var(--chatbox-accent);
      }
    `,
  ];

  @property({ attribute: false }) conversations: Conversation[] = [];
  /** renders again when it changes; conversations change in place */
  @property({ type: Number }) revision = 0;
  @property() current: string | null = null;
  @property({ type: Boolean }) columns = false;
  /** conversations in which something was said that the reader has not seen */
  @property({ attribute: false }) news: ReadonlySet<string> = new Set();

  constructor() {
    super();
    new Localized(this);
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (!changed.has("current")) return;
    this.renderRoot.querySelector(".current")?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }

  protected override render(): TemplateResult {
    return html`<ul aria-label=${s("openConversations")}>
        ${this.conversations.map((conversation) => this.renderTab(conversation))}
      </ul>
      ${this.conversations.length > 1
        ? html`<button
            class="icon columns"
            aria-pressed=${this.columns}
            aria-label=${s("columns")}
            title=${s("columns")}
            @click=${() => this.dispatchEvent(new CustomEvent("columns"))}
          >
            ${icon("columns")}
          </button>`
        : nothing}`;
  }

  private renderTab(conversation: Conversation): TemplateResult {
    const { id, session } = conversation;
    const current = id === this.current;
    const name = session?.user_name || session?.user_id || id;
    const tell = (type: string) => () => this.dispatchEvent(new CustomEvent(type, { detail: id }));
    return html`<li class=${current ? "current" : ""}>
      <button class="tab" aria-current=${current ? "true" : nothing} title=${session?.name || name} @click=${tell("show")}>
        ${this.renderMark(conversation)}<span class="name" dir="auto">${name}</span>
      </button>
      <button class="icon" aria-label=${s("closeNamed", { name })} title=${s("closePane")} @click=${tell("close")}>${icon("close")}</button>
    </li>`;
  }

  private renderMark({ id, held, help, holder }: Conversation): TemplateResult | typeof nothing {
    const mark = (kind: string, label: string): TemplateResult => html`<span class="mark ${kind}" role="img" aria-label=${label}></span>`;
    if (this.news.has(id)) return mark("news", s("unread"));
    if (!holder && (help === "asked" || help === "told")) return mark("help", s("help"));
    return held ? mark("mine", s("yours")) : nothing;
  }
}
