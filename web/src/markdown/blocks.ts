import { Marked, type Token, type Tokens } from "marked";

/** A block longer than this is cut, so that no single piece of work grows with the answer. */
const LONGEST = 4_000;
const LONGEST_OF: Record<string, number> = { code: 24_000, list: 1_200, table: 2_000 };
/** Marks a code block that goes on where the one before it was cut. */
export const CONTINUED = '<pre class="continued">';

/** Finished blocks, never to change again, and the unfinished rest as it looks now. */
export interface Progress {
  finished: string[];
  rest: string;
}

/** Markdown that arrives in pieces: each block is rendered for good once the next one has begun. */
export class Blocks {
  private tail = "";
  private inCutCode = false;

  constructor(private readonly marked: Marked) {}

  push(text: string): Progress {
    this.tail = (this.tail + text).replaceAll(/\r\n?/g, "\n");
    const tokens = this.marked.lexer(this.tail);
    const finished: string[] = [];
    const end = tokens.findLastIndex((token) => token.type !== "space");
    for (const token of tokens.slice(0, Math.max(end, 0))) finished.push(this.commit(token));
    const last = tokens[end];
    const cut = last && last.raw.length > (LONGEST_OF[last.type] ?? LONGEST) ? this.cut(last) : [];
    const rest = cut.length > 0 ? this.marked.lexer(this.tail) : tokens.slice(Math.max(end, 0));
    return { finished: [...finished, ...cut].filter((html) => html !== ""), rest: this.html(rest) };
  }

  private commit(token: Token): string {
    this.tail = this.tail.slice(token.raw.length);
    const html = this.html([token]);
    this.inCutCode = false;
    return html;
  }

  /** Finish the beginning of a block that has grown too long, at its last good place. */
  private cut(token: Token): string[] {
    if (token.type === "list") return this.cutList(token as Tokens.List);
    if (token.type === "code") return this.cutCode(token as Tokens.Code);
    const at = Math.max(this.tail.lastIndexOf("\n", token.raw.length - 2), this.tail.lastIndexOf(" ", token.raw.length - 2)) + 1;
    const head = this.tail.slice(0, at || token.raw.length);
    const opening = token.type === "table" ? head.split("\n", 2).join("\n") + "\n" : "";
    this.tail = opening + this.tail.slice(head.length);
    return [this.html(this.marked.lexer(head))];
  }

  private cutList(list: Tokens.List): string[] {
    const done = list.items.slice(0, -1);
    if (done.length === 0) return [];
    this.tail = this.tail.slice(done.reduce((length, item) => length + item.raw.length, 0));
    return [this.html([{ ...list, items: done }])];
  }

  private cutCode(code: Tokens.Code): string[] {
    const fence = /^ {0,3}(`{3,}|~{3,})[^\n]*\n/.exec(this.tail);
    const at = this.tail.lastIndexOf("\n", code.raw.length - 2) + 1;
    if (!fence || at <= fence[0].length) return [];
    const head = this.tail.slice(0, at);
    this.tail = fence[0] + this.tail.slice(at);
    const html = this.html(this.marked.lexer(`${head}${fence[1]}\n`));
    this.inCutCode = true;
    return [html];
  }

  private html(tokens: Token[]): string {
    const html = this.marked.parser(tokens);
    return this.inCutCode ? html.replace("<pre>", CONTINUED) : html;
  }
}
