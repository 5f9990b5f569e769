import { html, svg, type TemplateResult } from "lit";

const SHAPES = {
  menu: svg`<path d="M4 7h16M4 12h16M4 17h10"/>`,
  close: svg`<path d="M6 6l12 12M18 6L6 18"/>`,
  plus: svg`<path d="M12 5v14M5 12h14"/>`,
  search: svg`<circle cx="11" cy="11" r="6.500"/><path d="M20 20l-4.200-4.200"/>`,
  more: svg`<path d="M6 12h.01M12 12h.01M18 12h.01" stroke-width="2.600"/>`,
  send: svg`<path d="M12 19V5M5.500 11.500L12 5l6.500 6.500"/>`,
  stop: svg`<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor"/>`,
  again: svg`<path d="M20 11a8 8 0 1 0-2.300 6.300M20 5v6h-6"/>`,
  copy: svg`<rect x="9" y="9" width="11" height="11" rx="2.500"/><path d="M15 5.500V5a1.500 1.500 0 0 0-1.500-1.500H5A1.500 1.500 0 0 0 3.500 5v8.500A1.500 1.500 0 0 0 5 15h.500"/>`,
  check: svg`<path d="M5 12.500l4.500 4.500L19 7.500"/>`,
  help: svg`<circle cx="12" cy="12" r="8.500"/><circle cx="12" cy="12" r="3.500"/><path d="M6 6l3.500 3.500M18 6l-3.500 3.500M6 18l3.500-3.500M18 18l-3.500-3.500"/>`,
  share: svg`<path d="M12 15V4M8 7.500L12 3.500l4 4M5 12v6.500A1.500 1.500 0 0 0 6.500 20h11a1.500 1.500 0 0 0 1.500-1.500V12"/>`,
  edit: svg`<path d="M14.500 5.500l4 4L8 20H4v-4L14.500 5.500z"/>`,
  download: svg`<path d="M12 4v11M8 11.500l4 4 4-4M5 20h14"/>`,
  trash: svg`<path d="M4.500 7h15M9.500 7V4.500h5V7M6.500 7l1 13h9l1-13M10.500 11v5M13.500 11v5"/>`,
  down: svg`<path d="M12 5v14M5.500 12.500L12 19l6.500-6.500"/>`,
  chevron: svg`<path d="M7 10l5 5 5-5"/>`,
  file: svg`<path d="M14 3.500H7A1.500 1.500 0 0 0 5.500 5v14A1.500 1.500 0 0 0 7 20.500h10a1.500 1.500 0 0 0 1.500-1.500V8L14 3.500zM14 3.500V8h4.500"/>`,
  person: svg`<circle cx="12" cy="8.500" r="3.700"/><path d="M5 20c.6-3.600 3.400-5.500 7-5.500s6.400 1.900 7 5.500"/>`,
  cloud: svg`<path d="M7 18.500a4.200 4.200 0 0 1-.5-8.400A5.600 5.600 0 0 1 17.300 9 4.800 4.800 0 0 1 17 18.500M4 4l16 16"/>`,
  warning: svg`<path d="M12 4.500L21 19.500H3L12 4.500zM12 10.500v4M12 17.200v.01"/>`,
  lock: svg`<rect x="5" y="10.500" width="14" height="9.500" rx="2.500"/><path d="M8.500 10.500V8a3.500 3.500 0 0 1 7 0v2.500"/>`,
  bell: svg`<path d="M6.500 16.500V11a5.500 5.500 0 0 1 11 0v5.500l1.500 1.500H5l1.500-1.500zM10 20.500h4"/>`,
  bellOff: svg`<path d="M9 6.400A5.500 5.500 0 0 1 17.500 11v4M6.500 11v5.500L5 18h13M10 20.500h4M4 4l16 16"/>`,
  chats: svg`<path d="M4 5.500h11v8H9l-3.500 3v-3H4zM18 9h2v8h-1.500v3l-3.500-3H10v-.500"/>`,
  chart: svg`<path d="M4 20h16M7 16v-5M12 16V6M17 16V9"/>`,
  swap: svg`<path d="M4 8.500h14M14.500 5L18 8.500 14.500 12M20 15.500H6M9.500 12L6 15.500 9.500 19"/>`,
  hand: svg`<circle cx="9" cy="8.500" r="3.500"/><path d="M3 20c.500-3.500 3-5.300 6-5.300 1.200 0 2.300.3 3.200.8M15 17h6M18 14v6"/>`,
  back: svg`<path d="M19 12H5M11.500 5.500L5 12l6.500 6.500"/>`,
  note: svg`<path d="M5 4.500h14v10l-5 5H5zM19 14.500h-5v5M8.500 9h7M8.500 12.500h4"/>`,
  quote: svg`<path d="M4 5.500h16v10h-8l-4.500 3.500v-3.500H4zM8 9h8M8 12h5"/>`,
  audit: svg`<path d="M12 3.500l7 2.500v5.500c0 4.500-3 7.500-7 9-4-1.500-7-4.500-7-9V6zM9 12l2.200 2.200L15.300 10"/>`,
  columns: svg`<rect x="4" y="5" width="16" height="14" rx="2"/><path d="M12 5v14"/>`,
  info: svg`<circle cx="12" cy="12" r="8.500"/><path d="M12 11v5M12 8v.010"/>`,
  keyboard: svg`<rect x="3" y="6.500" width="18" height="11" rx="2"/><path d="M6.500 10h.010M10 10h.010M13.500 10h.010M17 10h.010M8 14h8"/>`,
  clock: svg`<circle cx="12" cy="12" r="8.500"/><path d="M12 7.500V12l3 2"/>`,
  filter: svg`<path d="M4 6.500h16M7 12h10M10 17.500h4"/>`,
  spark: svg`<path d="M12 3.500l1.900 5.600 5.600 1.900-5.600 1.900L12 18.500l-1.900-5.600L4.500 11l5.600-1.900zM18.500 16.500v4M16.500 18.500h4"/>`,
  block: svg`<circle cx="12" cy="12" r="8.500"/><path d="M6 6l12 12"/>`,
} as const;

export type Icon = keyof typeof SHAPES;

export function icon(name: Icon): TemplateResult {
  return html`<svg viewBox="0 0 24 24" aria-hidden="true">${SHAPES[name]}</svg>`;
}

/** The mark of Chatbox. */
export const mark = html`<svg viewBox="0 0 32 32" aria-hidden="true" class="mark">
  <rect width="32" height="32" rx="9" />
  <path d="M16 7.500c-5.200 0-9.200 3.400-9.200 7.800 0 2.600 1.400 4.800 3.600 6.300l-.6 3.400c-.1.5.4.8.8.6l3.700-2.200c.6.1 1.100.1 1.700.1 5.200 0 9.200-3.600 9.200-8.200S21.200 7.500 16 7.500z" />
  <circle cx="12.300" cy="15.500" r="1.500" /><circle cx="19.700" cy="15.500" r="1.500" class="dot" />
</svg>`;
