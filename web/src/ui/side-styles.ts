import { css } from "lit";

export const sideStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
    height: 100%;
    background: var(--chatbox-side);
  }
  .head {
    display: flex;
    align-items: center;
    justify-content: space-between;
    height: 3.75rem;
    padding: 0 0.75rem 0 1.1rem;
    flex: none;
  }
  .brand {
    display: inline-flex;
    align-items: center;
    gap: 0.65rem;
    font-weight: 650;
    letter-spacing: -0.01em;
  }
  .mark {
    width: 1.75rem;
    height: 1.75rem;
    stroke: none;
    fill: var(--chatbox-side);
  }
  .mark rect {
    fill: light-dark(#0f6657, #2b7d6c);
  }
  .mark path {
    fill: #f6f4ee;
  }
  .mark circle {
    fill: #0f6657;
  }
  .mark .dot {
    fill: #d8943d;
  }
  .new {
    margin: 0 0.85rem;
    justify-content: flex-start;
    padding: 0 0.75rem;
    color: var(--chatbox-accent);
    flex: none;
  }
  .search {
    position: relative;
    margin: 0.6rem 0.85rem 0.5rem;
    flex: none;
    color: var(--chatbox-ink-soft);
  }
  .search svg {
    position: absolute;
    left: 0.75rem;
    top: 0.68rem;
    width: 1.1rem;
    height: 1.1rem;
    pointer-events: none;
  }
  .search input {
    width: 100%;
    height: 2.4rem;
    padding: 0 0.7rem 0 2.4rem;
    border: 1px solid transparent;
    border-radius: 10px;
    background: var(--chatbox-hover);
    color: var(--chatbox-ink);
    font-size: max(0.9rem, 14px);
    outline-offset: -1px;
  }
  .search input::placeholder {
    color: var(--chatbox-ink-soft);
    opacity: 1;
  }
  .list {
    flex: 1;
    min-height: 0;
    overflow-y: auto;
    padding: 0.25rem 0.6rem 0.75rem;
    overscroll-behavior: contain;
    scrollbar-width: thin;
    scrollbar-color: var(--chatbox-line) transparent;
  }
  ul {
    list-style: none;
  }
  li + li {
    margin-top: 2px;
  }
  .empty {
    padding: 1rem 0.75rem;
    font-size: 0.88rem;
    color: var(--chatbox-ink-soft);
    overflow-wrap: anywhere;
  }
  .more {
    width: 100%;
    margin-top: 0.6rem;
    font-size: 0.85rem;
    background: none;
  }
  @media (hover: none) {
    .search input {
      font-size: 16px;
    }
  }
`;
