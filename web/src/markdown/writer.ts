import { Blocks } from "./blocks";
import { dialect, type ImageLabel } from "./dialect";
import { painted, type Highlighter } from "./highlight";
import { sanitize } from "./sanitize";
import type { Slices } from "./slices";

/** Text taken in one step. */
const STEP = 1_000;
/** Code longer than this keeps one colour. */
const COLOURED = 16_000;
/** A block of more elements than this is not laid out while it is out of sight. */
const BIG = 40;

export interface Words {
  image: ImageLabel;
  copy: string;
  code: string;
}

/** Writes Markdown that still grows into an element: finished blocks once, the last one anew with every step. */
export class Writer {
  private blocks: Blocks;
  private text = "";
  private written = 0;
  private working = false;
  private closed = false;
  private rest: ChildNode[] = [];

  constructor(
    private readonly target: HTMLElement,
    private readonly slices: Slices,
    private readonly highlighter: Pick<Highlighter, "colours">,
    private readonly words: Words,
  ) {
    this.blocks = new Blocks(dialect(words.image));
  }

  /** The whole text so far, lengthened since the last call; `done` when it will not grow any more. */
  write(text: string, done: boolean): void {
    this.text = text;
    this.closed = done;
    if (this.working) return;
    this.working = true;
    if (this.written === 0 && text.length < STEP) this.working = this.step();
    if (this.working) this.slices.add(() => (this.working = this.step()));
  }

  private step(): boolean {
    const piece = this.text.slice(this.written, this.written + STEP);
    this.written += piece.length;
    const { finished, rest } = this.blocks.push(piece);
    for (const node of this.rest) node.remove();
    for (const html of finished) this.append(html, true);
    const more = this.written < this.text.length;
    this.rest = this.append(rest, this.closed && !more);
    return more;
  }

  private append(html: string, final: boolean): ChildNode[] {
    const nodes = sanitize(html);
    for (const pre of nodes.querySelectorAll("pre")) this.frame(pre, final);
    for (const list of nodes.querySelectorAll("ol")) makeRoom(list);
    if (final) for (const block of nodes.children) block.classList.toggle("big", block.querySelectorAll("*").length > BIG);
    const added = [...nodes.childNodes];
    const before = this.target.lastElementChild;
    const first = nodes.firstElementChild;
    if (final && before && first?.classList.contains("continued")) {
      before.querySelector("code")?.append(...(first.querySelector("code")?.childNodes ?? []));
      first.remove();
    }
    this.target.append(nodes);
    return added;
  }

  /** A code block with its language and a button that copies it. */
  private frame(pre: HTMLPreElement, final: boolean): void {
    const code = pre.querySelector("code");
    if (!code) return;
    const language = code.className.replace("language-", "");
    const box = document.createElement("div");
    box.className = pre.className === "continued" ? "code continued" : "code";
    const head = document.createElement("div");
    head.className = "code-head";
    const label = document.createElement("span");
    label.textContent = language;
    const copy = document.createElement("button");
    copy.className = "code-copy";
    copy.type = "button";
    copy.textContent = this.words.copy;
    head.append(label, copy);
    pre.tabIndex = 0;
    pre.ariaLabel = this.words.code;
    pre.setAttribute("role", "group");
    pre.replaceWith(box);
    box.append(head, pre);
    if (final) void this.colour(code, language);
  }

  private async colour(code: HTMLElement, language: string): Promise<void> {
    const text = code.textContent ?? "";
    if (!language || text.length > COLOURED) return;
    const colours = await this.highlighter.colours(text, language);
    if (colours === null) return;
    this.slices.add(() => {
      if (code.textContent === text) code.replaceChildren(...painted(text, colours));
      return false;
    });
  }
}

/** Numbers of three digits and more need more room than the style gives them. */
function makeRoom(list: HTMLOListElement): void {
  const { length } = String(list.start + list.children.length - 1);
  if (length > 2) list.style.paddingInlineStart = `calc(${length}ch + 0.9em)`;
}
