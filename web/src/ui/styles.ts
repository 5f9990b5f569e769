import { css } from "lit";

/** What every element shares: measure, type, buttons, focus. */
export const base = css`
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  :host {
    font: 400 0.975rem/1.6 var(--chatbox-font);
    color: var(--chatbox-ink);
    -webkit-tap-highlight-color: transparent;
  }
  [hidden] {
    display: none !important;
  }
  h1,
  h2,
  p,
  ul {
    margin: 0;
    padding: 0;
  }
  a {
    color: var(--chatbox-accent);
    text-underline-offset: 0.18em;
  }
  svg {
    display: block;
    width: 1.25rem;
    height: 1.25rem;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.7;
    stroke-linecap: round;
    stroke-linejoin: round;
    flex: none;
  }
  button,
  input,
  select,
  textarea {
    font: inherit;
    color: inherit;
  }
  button {
    cursor: pointer;
    border: 0;
    background: none;
    padding: 0;
  }
  button:disabled {
    cursor: default;
    opacity: 0.45;
  }
  :focus-visible {
    outline: 2px solid var(--chatbox-accent);
    outline-offset: 2px;
  }
  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.5rem;
    min-height: 2.5rem;
    padding: 0 1rem;
    border-radius: 10px;
    font-weight: 550;
    font-size: 0.925rem;
    color: inherit;
    text-decoration: none;
    border: 1px solid var(--chatbox-line);
    background: var(--chatbox-surface);
    transition: background 0.15s, border-color 0.15s;
  }
  .button:hover:not(:disabled) {
    background: var(--chatbox-hover);
  }
  .button.primary {
    background: var(--chatbox-accent);
    border-color: transparent;
    color: var(--chatbox-on-accent);
  }
  .button.primary:hover:not(:disabled) {
    background: var(--chatbox-accent-strong);
  }
  .icon {
    display: inline-grid;
    place-items: center;
    width: 2.5rem;
    height: 2.5rem;
    border-radius: 10px;
    color: var(--chatbox-ink-soft);
    transition: background 0.15s, color 0.15s;
  }
  @media (hover: hover) {
    .icon:hover:not(:disabled) {
      background: var(--chatbox-hover);
      color: var(--chatbox-ink);
    }
  }
  select {
    appearance: none;
    border: 1px solid var(--chatbox-line);
    border-radius: 9px;
    padding: 0 1.5rem 0 0.65rem;
    text-overflow: ellipsis;
    background:
      linear-gradient(45deg, transparent 50%, var(--chatbox-ink-soft) 50%) right 0.85rem center / 5px 5px no-repeat,
      linear-gradient(-45deg, transparent 50%, var(--chatbox-ink-soft) 50%) right 0.6rem center / 5px 5px no-repeat,
      var(--chatbox-surface);
  }
  select:hover {
    border-color: var(--chatbox-line-strong);
  }
  .link {
    color: var(--chatbox-accent);
    font-weight: 550;
    text-decoration: underline;
    text-underline-offset: 0.18em;
  }
  .hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      animation-duration: 0.01ms !important;
      animation-iteration-count: 1 !important;
      transition: none !important;
      scroll-behavior: auto !important;
    }
  }
`;
