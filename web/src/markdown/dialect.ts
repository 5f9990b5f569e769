import { Marked, type Tokens } from "marked";

/** What the page says about an image that it does not load: its description and its host. */
export type ImageLabel = (alt: string, host: string) => string;

/** Markdown as models write it. Nothing in it loads by itself: an image becomes a link, HTML stays text. */
export function dialect(imageLabel: ImageLabel): Marked {
  const marked = new Marked({ gfm: true, breaks: true });
  marked.use({
    renderer: {
      html: ({ text }: Tokens.HTML | Tokens.Tag) => escape(text),
      image({ href, text }: Tokens.Image) {
        const url = safeUrl(href);
        return url ? `<a class="image" href="${escape(url.href)}">${escape(imageLabel(text, url.host))}</a>` : escape(text);
      },
      link({ href, tokens }: Tokens.Link) {
        const url = safeUrl(href);
        const label = this.parser.parseInline(tokens);
        return url ? `<a href="${escape(url.href)}">${label}</a>` : label;
      },
      code: ({ text, lang }: Tokens.Code) => `<pre><code class="language-${languageOf(lang)}">${escape(text)}\n</code></pre>\n`,
      checkbox: ({ checked }: Tokens.Checkbox) => (checked ? "☑ " : "☐ "),
    },
  });
  return marked;
}

function safeUrl(href: string): URL | null {
  try {
    const url = new URL(href);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

function languageOf(info: string | undefined): string {
  return /^[\w+#-]{1,20}/.exec(info ?? "")?.[0].toLowerCase() ?? "";
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}
