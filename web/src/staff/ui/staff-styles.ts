import { css } from "lit";

/** What the parts of the dashboard share: signs, fields, tables, pages. */
export const staffStyles = css`
  .chip {
    display: inline-flex;
    align-items: center;
    gap: 0.3rem;
    padding: 0 0.5em;
    border-radius: 7px;
    background: var(--chatbox-hover);
    color: var(--chatbox-ink-soft);
    font-size: 0.74rem;
    font-weight: 600;
    line-height: 1.6;
    white-space: nowrap;
  }
  .chip svg {
    width: 0.9rem;
    height: 0.9rem;
  }
  .chip.help {
    background: var(--chatbox-bad-tint);
    color: var(--chatbox-bad);
  }
  .chip.mine {
    background: var(--chatbox-tint);
    color: var(--chatbox-accent);
  }
  .chip.staff {
    background: var(--chatbox-warm-tint);
    color: var(--chatbox-warm);
  }
  .dot {
    display: inline-block;
    width: 0.5rem;
    height: 0.5rem;
    border-radius: 50%;
    border: 1.5px solid var(--chatbox-line-strong);
    flex: none;
  }
  .dot.online {
    border-color: transparent;
    background: light-dark(#178a54, #4fc98a);
  }
  .clock {
    font-variant-numeric: tabular-nums;
  }
  .field {
    display: grid;
    gap: 0.2rem;
    min-width: 0;
    font-size: 0.78rem;
    font-weight: 550;
    color: var(--chatbox-ink-soft);
  }
  .field select,
  .field input,
  .field textarea {
    width: 100%;
    min-width: 0;
    font-weight: 400;
    font-size: 0.88rem;
    color: var(--chatbox-ink);
  }
  .field select {
    height: 2.2rem;
  }
  .field input,
  .field textarea {
    padding: 0 0.65rem;
    border: 1px solid var(--chatbox-line-strong);
    border-radius: 9px;
    background: var(--chatbox-surface);
  }
  .field input {
    height: 2.2rem;
  }
  .field textarea {
    padding: 0.5rem 0.65rem;
    line-height: 1.5;
    resize: vertical;
  }
  .button.small {
    min-height: 2.1rem;
    padding: 0 0.75rem;
    font-size: 0.85rem;
    white-space: nowrap;
  }
  .button.danger {
    color: var(--chatbox-bad);
  }
  .button svg {
    width: 1.1rem;
    height: 1.1rem;
  }
  .message {
    padding: 2.5rem 1.5rem;
    text-align: center;
    color: var(--chatbox-ink-soft);
    text-wrap: balance;
  }
  .message svg {
    width: 1.8rem;
    height: 1.8rem;
    margin: 0 auto 0.7rem;
  }
  .trouble {
    color: var(--chatbox-bad);
  }
  .page {
    height: 100%;
    overflow-y: auto;
    scrollbar-width: thin;
    scrollbar-color: var(--chatbox-line) transparent;
  }
  .inside {
    max-width: 72rem;
    margin: 0 auto;
    padding: 1.4rem 1.75rem 3rem;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.75rem 1rem;
    margin-bottom: 1.1rem;
  }
  .head h1 {
    flex: 1;
    min-width: 6rem;
    font-size: 1.35rem;
    font-weight: 650;
    letter-spacing: -0.015em;
    line-height: 1.3;
  }
  .tools {
    display: flex;
    flex-wrap: wrap;
    gap: 0.5rem;
  }
  .about {
    max-width: 46rem;
    margin: -0.5rem 0 1.1rem;
    color: var(--chatbox-ink-soft);
    font-size: 0.9rem;
  }
  .table {
    overflow-x: auto;
    border: 1px solid var(--chatbox-line);
    border-radius: var(--chatbox-radius);
    background: var(--chatbox-surface);
  }
  table {
    width: 100%;
    border-collapse: collapse;
    font-size: 0.87rem;
    line-height: 1.45;
  }
  th,
  td {
    padding: 0.6rem 0.9rem;
    text-align: left;
    vertical-align: top;
  }
  th {
    font-size: 0.77rem;
    font-weight: 600;
    color: var(--chatbox-ink-soft);
    white-space: nowrap;
  }
  tbody tr {
    border-top: 1px solid var(--chatbox-line);
  }
  td.number,
  th.number {
    text-align: right;
    font-variant-numeric: tabular-nums;
  }
  td.when {
    white-space: nowrap;
    font-variant-numeric: tabular-nums;
  }
  td .link {
    white-space: nowrap;
  }
  .detail {
    color: var(--chatbox-ink-soft);
    font-size: 0.8rem;
    overflow-wrap: anywhere;
  }
  .more {
    display: grid;
    justify-items: center;
    gap: 0.5rem;
    margin-top: 1rem;
  }
  @media (max-width: 760px) {
    .inside {
      padding: 1rem 1rem 2rem;
    }
    th,
    td {
      padding: 0.55rem 0.6rem;
    }
    /* What can be done is in sight however wide the rest is. */
    td:last-child {
      position: sticky;
      right: 0;
      background: var(--chatbox-surface);
    }
    td .link {
      display: block;
      text-align: left;
      white-space: normal;
    }
    td .detail {
      min-width: 7rem;
    }
    .field select,
    .field input,
    .field textarea {
      font-size: 16px;
      min-height: 2.6rem;
    }
    .button.small {
      min-height: 2.5rem;
    }
  }
`;
