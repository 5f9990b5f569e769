import { css, html, LitElement, type PropertyValues } from "lit";
import { customElement, property } from "lit/decorators.js";
import { t } from "../i18n/locale";
import { Highlighter } from "../markdown/highlight";
import { Slices } from "../markdown/slices";
import { Writer } from "../markdown/writer";
import { copyText } from "./browser";
import { markdownStyles } from "./markdown-styles";
import { base } from "./styles";

const slices = new Slices();
const highlighter = new Highlighter(() => new Worker(new URL("../markdown/painter.ts", import.meta.url), { type: "module" }));

/** Shows Markdown, also while it is still being written. */
@customElement("chatbox-markdown")
export class MarkdownView extends LitElement {
  static override styles = [base, markdownStyles, css`:host { display: block; overflow-wrap: anywhere; }`];

  @property() text = "";
  /** rises when `text` is another one instead of a longer one */
  @property({ type: Number }) generation = 0;
  @property({ type: Boolean }) done = false;

  private writer: Writer | null = null;

  protected override render(): unknown {
    return html`<div class="text" @click=${this.onClick}></div>`;
  }

  protected override updated(changed: PropertyValues<this>): void {
    const target = this.renderRoot.querySelector<HTMLElement>(".text")!;
    if (this.writer === null || changed.has("generation")) {
      target.replaceChildren();
      this.writer = new Writer(target, slices, highlighter, {
        image: (alt, host) => (alt ? t("image", { alt, host }) : t("imagePlain", { host })),
        copy: t("copy"),
        code: t("code"),
      });
    }
    this.writer.write(this.text, this.done);
  }

  private async onClick(event: Event): Promise<void> {
    const button = (event.target as Element).closest<HTMLButtonElement>(".code-copy");
    if (!button) return;
    const code = button.closest(".code")?.querySelector("code")?.textContent ?? "";
    if (!(await copyText(code))) return;
    button.textContent = t("copied");
    setTimeout(() => (button.textContent = t("copy")), 1_500);
  }
}
