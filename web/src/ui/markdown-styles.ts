import { css } from "lit";

export const markdownStyles = css`
  .text > * {
    margin: 0 0 0.85em;
  }
  .text > .big {
    content-visibility: auto;
    contain-intrinsic-block-size: auto 60rem;
  }
  .text > :last-child {
    margin-bottom: 0;
  }
  h1, h2, h3, h4, h5, h6 {
    font-weight: 650;
    line-height: 1.3;
    font-size: 1.05rem;
    margin-top: 1.4em;
  }
  .text > :first-child {
    margin-top: 0;
  }
  h1 {
    font-size: 1.3rem;
  }
  h2 {
    font-size: 1.15rem;
  }
  ul,
  ol {
    padding-inline-start: 1.5em;
  }
  .text > ol + ol,
  .text > ul + ul {
    margin-top: -0.85em;
  }
  li {
    margin: 0.25em 0;
  }
  li::marker {
    color: var(--chatbox-ink-soft);
  }
  li > p {
    margin: 0.4em 0;
  }
  blockquote {
    padding-left: 1em;
    border-left: 3px solid var(--chatbox-line);
    color: var(--chatbox-ink-soft);
  }
  hr {
    border: 0;
    border-top: 1px solid var(--chatbox-line);
  }
  a.image {
    display: inline-block;
    padding: 0.35em 0.75em;
    border: 1px solid var(--chatbox-line);
    border-radius: 10px;
    background: var(--chatbox-surface);
    text-decoration: none;
    font-size: 0.925em;
  }
  a.image::before {
    content: "▨ ";
    color: var(--chatbox-ink-soft);
  }
  table {
    display: block;
    width: fit-content;
    max-width: 100%;
    overflow-x: auto;
    border-collapse: collapse;
    font-size: 0.94em;
  }
  th,
  td {
    padding: 0.45em 0.9em;
    border-bottom: 1px solid var(--chatbox-line);
    overflow-wrap: normal;
  }
  :is(th, td):not([align]) {
    text-align: start;
  }
  th {
    font-weight: 600;
    border-bottom-color: var(--chatbox-line-strong);
  }
  code {
    font: 0.88em/1.6 var(--chatbox-font-code);
    background: var(--chatbox-code);
    border-radius: 5px;
    padding: 0.12em 0.38em;
  }
  .code {
    border: 1px solid var(--chatbox-line);
    border-radius: 12px;
    background: var(--chatbox-code);
    overflow: hidden;
  }
  .code.continued {
    margin-top: -0.85em;
    border-top: 0;
  }
  .code.continued .code-head {
    display: none;
  }
  .code-head {
    display: flex;
    justify-content: space-between;
    align-items: center;
    min-height: 2.2rem;
    padding: 0 0.4rem 0 1rem;
    font-size: 0.78rem;
    color: var(--chatbox-ink-soft);
    border-bottom: 1px solid var(--chatbox-line);
  }
  .code-copy {
    padding: 0.2rem 0.6rem;
    border-radius: 7px;
    color: var(--chatbox-ink-soft);
  }
  .code-copy:hover {
    background: var(--chatbox-hover);
    color: var(--chatbox-ink);
  }
  pre {
    margin: 0;
    padding: 0.85rem 1rem;
    overflow-x: auto;
    overflow-wrap: normal;
  }
  pre:focus-visible {
    outline-offset: -3px;
  }
  pre code {
    background: none;
    padding: 0;
    white-space: pre;
  }
  .hljs-comment, .hljs-quote, .hljs-meta {
    color: light-dark(#636a63, #93a19c);
    font-style: italic;
  }
  .hljs-keyword, .hljs-selector-tag, .hljs-literal, .hljs-tag, .hljs-name {
    color: light-dark(#7c3a7d, #d3a0e0);
  }
  .hljs-string, .hljs-regexp, .hljs-addition, .hljs-attribute {
    color: light-dark(#0f6657, #7fd4bd);
  }
  .hljs-number, .hljs-symbol, .hljs-bullet, .hljs-variable, .hljs-template-variable, .hljs-attr {
    color: light-dark(#85520c, #e6b673);
  }
  .hljs-title, .hljs-section, .hljs-built_in, .hljs-type, .hljs-selector-id, .hljs-selector-class {
    color: light-dark(#245a94, #8fbdf0);
  }
  .hljs-deletion {
    color: light-dark(#a5322a, #f19a90);
  }
`;
