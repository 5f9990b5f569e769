import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Localized, t } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import type { Draft } from "../assistance";
import { s } from "../i18n/texts";
import { staffStyles } from "./staff-styles";

/** A text that the model wrote for staff, marked as that. Tells `use`, `again` and `drop`. */
@customElement("chatbox-draft")
export class DraftCard extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      section {
        margin: 0.4rem 0;
        padding: 0.35rem 0.4rem 0.6rem 0.9rem;
        border: 1px dashed var(--chatbox-accent);
        border-radius: 12px;
        background: var(--chatbox-tint);
        font-size: 0.9rem;
        line-height: 1.5;
      }
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        gap: 0.5rem;
      }
      h3 {
        display: flex;
        align-items: center;
        gap: 0.4rem;
        margin: 0;
        font-size: 0.79rem;
        font-weight: 600;
        color: var(--chatbox-accent);
      }
      h3 svg {
        width: 1rem;
        height: 1rem;
      }
      .icon {
        width: 2rem;
        height: 2rem;
      }
      .text {
        max-height: 7.5rem;
        padding-right: 0.5rem;
        overflow-y: auto;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
      }
      .buttons {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem;
        margin-top: 0.5rem;
      }
    `,
  ];

  @property({ attribute: false }) draft!: Draft;
  @property() heading = "";
  /** what it can be used for; nothing without it */
  @property() use = "";

  constructor() {
    super();
    new Localized(this);
  }

  protected override render(): TemplateResult {
    const { text, state } = this.draft;
    return html`<section aria-label=${this.heading} aria-busy=${state === "writing"}>
      <header>
        <h3>${icon("spark")} ${this.heading}</h3>
        <button class="icon" aria-label=${s("draftDrop")} title=${s("draftDrop")} @click=${this.tell("drop")}>${icon("close")}</button>
      </header>
      ${text ? html`<div class="text" dir="auto" tabindex="0" role="group" aria-label=${this.heading}>${text}</div>` : nothing}
      ${text === "" && state === "writing" ? html`<p>${t("thinking")}</p>` : nothing}
      ${state === "failed" ? html`<p class="trouble" role="alert">${s("draftFailed")}</p>` : nothing} ${this.renderButtons()}
      <div class="hidden" role="status">${state === "done" ? text : ""}</div>
    </section>`;
  }

  private renderButtons(): TemplateResult | typeof nothing {
    const { state } = this.draft;
    if (state === "writing" || (!this.use && state === "done")) return nothing;
    return html`<div class="buttons">
      ${this.use && state === "done" ? html`<button class="button small primary" @click=${this.tell("use")}>${this.use}</button>` : nothing}
      <button class="button small" @click=${this.tell("again")}>${s("draftAgain")}</button>
    </div>`;
  }

  private tell(type: string): () => void {
    return () => this.dispatchEvent(new CustomEvent(type));
  }
}
