import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = { bash, css, diff, go, java, json, python, rust, sql, typescript, xml, yaml };
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);
hljs.registerAliases(["javascript", "js", "jsx", "tsx"], { languageName: "typescript" });

/** A length of code that looks one way: the classes that apply, outermost first, and its characters. */
export type Colour = [classes: string[], length: number];

/** The colours of code, from its beginning to its end; null when its language is not known here. */
export function coloursOf(code: string, language: string): Colour[] | null {
  if (!hljs.getLanguage(language)) return null;
  const html = hljs.highlight(code, { language, ignoreIllegals: true }).value;
  const colours: Colour[] = [];
  const open: string[] = [];
  for (const [, classes, close, text] of html.matchAll(/<span class="([^"]*)">|(<\/span>)|([^<]+)/g)) {
    if (classes !== undefined) open.push(classes);
    else if (close) open.pop();
    else colours.push([[...open], lengthOf(text!)]);
  }
  return colours;
}

function lengthOf(escaped: string): number {
  return escaped.replaceAll(/&[^;]*;/g, "&").length;
}
