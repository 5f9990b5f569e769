import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property, query, queryAll } from "lit/decorators.js";
import { icon, type Icon } from "./icons";
import { base } from "./styles";

export interface MenuItem {
  id: string;
  label: string;
  icon: Icon;
  danger?: boolean;
}

/** A button that opens a list of commands. Tells `choose` with the id of the chosen one. */
@customElement("chatbox-menu")
export class Menu extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        display: inline-block;
      }
      [role="menu"] {
        position: fixed;
        inset: auto;
        margin: 0;
        min-width: 13rem;
        padding: 0.35rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 13px;
        background: var(--chatbox-raised);
        color: var(--chatbox-ink);
        box-shadow: var(--chatbox-shadow);
      }
      [role="menuitem"] {
        display: flex;
        align-items: center;
        gap: 0.7rem;
        width: 100%;
        min-height: 2.5rem;
        padding: 0 0.75rem;
        border-radius: 9px;
        font-size: 0.9rem;
        text-align: left;
      }
      [role="menuitem"]:hover,
      [role="menuitem"]:focus-visible {
        background: var(--chatbox-hover);
        outline-offset: -2px;
      }
      [role="menuitem"] svg {
        color: var(--chatbox-ink-soft);
      }
      .danger,
      .danger svg {
        color: var(--chatbox-bad) !important;
      }
      .icon.small {
        width: 2.1rem;
        height: 2.1rem;
      }
    `,
  ];

  @property() label = "";
  @property() sign: Icon = "more";
  @property({ attribute: false }) items: MenuItem[] = [];
  @property({ type: Number }) focusable = 0;
  @property({ type: Boolean }) small = false;
  @query("[role=menu]") private readonly list!: HTMLElement;
  @query(".icon") private readonly opener!: HTMLElement;
  @queryAll("[role=menuitem]") private readonly entries!: NodeListOf<HTMLElement>;

  protected override render(): TemplateResult {
    return html`<button
        class="icon ${this.small ? "small" : ""}"
        aria-label=${this.label}
        title=${this.label}
        aria-haspopup="menu"
        tabindex=${this.focusable}
        @click=${this.open}
      >
        ${icon(this.sign)}
      </button>
      <div role="menu" popover aria-label=${this.label} @keydown=${this.onKey}>
        ${this.items.map(
          (item) => html`<button role="menuitem" tabindex="-1" class=${item.danger ? "danger" : ""} @click=${() => this.choose(item)}>
            ${icon(item.icon)} ${item.label}
          </button>`,
        )}
      </div>`;
  }

  private open(): void {
    const at = this.opener.getBoundingClientRect();
    this.list.showPopover();
    const { width, height } = this.list.getBoundingClientRect();
    const below = at.bottom + height + 8 < innerHeight;
    this.list.style.left = `${Math.max(8, Math.min(at.right - width, innerWidth - width - 8))}px`;
    this.list.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - height - 4)}px`;
    this.entries[0]?.focus();
  }

  private choose(item: MenuItem): void {
    this.close();
    this.dispatchEvent(new CustomEvent("choose", { detail: item.id }));
  }

  private onKey(event: KeyboardEvent): void {
    const entries = [...this.entries];
    const at = entries.indexOf(this.renderRoot instanceof ShadowRoot ? (this.renderRoot.activeElement as HTMLElement) : entries[0]!);
    const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 };
    const to = moves[event.key];
    if (event.key === "Escape" || event.key === "Tab") this.close();
    if (event.key === "Escape") event.preventDefault();
    if (to === undefined) return;
    event.preventDefault();
    entries.at(to % entries.length)?.focus();
  }

  private close(): void {
    this.list.hidePopover();
    this.opener.focus();
  }
}
