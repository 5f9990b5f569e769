import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Localized, t, type Key } from "../i18n/locale";
import type { LinkState } from "../wire/connection";
import { icon } from "./icons";
import { base } from "./styles";

const STOPPED: Record<string, Key> = { forbidden: "linkForbidden", abuse: "linkAbuse", deleted: "linkDeleted" };

/** Says what is wrong with the connection, and nothing while it is well. Tells `reconnect` and `new`. */
@customElement("chatbox-link-line")
export class LinkLine extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        position: absolute;
        inset: 0.6rem 0.75rem auto;
        z-index: 2;
        display: flex;
        justify-content: center;
        pointer-events: none;
      }
      p {
        display: flex;
        align-items: center;
        gap: 0.55rem;
        max-width: 40rem;
        padding: 0.4rem 0.95rem 0.4rem 0.75rem;
        border: 1px solid var(--chatbox-line);
        border-radius: 1.2rem;
        background: var(--chatbox-raised);
        box-shadow: var(--chatbox-shadow);
        font-size: 0.84rem;
        line-height: 1.4;
        pointer-events: auto;
        animation: appear 0.25s 0.6s both;
      }
      p.bad {
        background: var(--chatbox-bad-tint);
        color: var(--chatbox-bad);
        border-color: transparent;
      }
      p.warm {
        background: var(--chatbox-warm-tint);
        color: var(--chatbox-warm);
        border-color: transparent;
      }
      p svg {
        width: 1.05rem;
        height: 1.05rem;
      }
      p .link {
        color: inherit;
        white-space: nowrap;
      }
      .turning {
        width: 0.9rem;
        height: 0.9rem;
        border-radius: 50%;
        border: 2px solid var(--chatbox-line-strong);
        border-top-color: transparent;
        animation: turn 0.9s linear infinite;
        flex: none;
      }
      @keyframes turn {
        to {
          transform: rotate(1turn);
        }
      }
      @keyframes appear {
        from {
          opacity: 0;
          transform: translateY(-6px);
        }
      }
    `,
  ];

  @property({ attribute: false }) link!: LinkState;
  private ticking: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super();
    new Localized(this);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.ticking = setInterval(() => this.link.is === "waiting" && this.requestUpdate(), 1_000);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.ticking);
  }

  protected override render(): TemplateResult {
    return html`<div role="status">${this.renderState()}</div>`;
  }

  private renderState(): TemplateResult | typeof nothing {
    switch (this.link.is) {
      case "open":
        return nothing;
      case "connecting":
        return html`<p><span class="turning"></span>${t("linkConnecting")}</p>`;
      case "waiting":
        return html`<p class="warm">${icon("cloud")}${this.renderWait(this.link.until)}${this.button("reconnect", "reconnect")}</p>`;
      case "offline":
        return html`<p class="warm">${icon("cloud")}${t("linkOffline")}</p>`;
      case "token":
        return html`<p class="bad">${icon("lock")}${t("linkToken")}</p>`;
      case "stopped":
        return this.renderStopped(this.link.reason);
    }
  }

  private renderStopped(reason: string): TemplateResult {
    const deleted = reason === "deleted";
    return html`<p class="bad">
      ${icon("warning")}<span>${t(STOPPED[reason] ?? "errorOther")}</span>
      ${deleted ? this.button("newChat", "new") : this.button("reconnect", "reconnect")}
    </p>`;
  }

  /** The seconds are for the eye; a screen reader is told once. */
  private renderWait(until: number): TemplateResult {
    const seconds = Math.max(1, Math.ceil((until - Date.now()) / 1000));
    return html`<span class="hidden">${t("linkLost")}</span><span aria-hidden="true">${t("linkWaiting", { seconds })}</span>`;
  }

  private button(label: Key, event: string): TemplateResult {
    return html`<button class="link" @click=${() => this.dispatchEvent(new CustomEvent(event))}>${t(label)}</button>`;
  }
}
