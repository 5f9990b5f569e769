import { css } from "lit";

export const messageStyles = css`
  article {
    display: flex;
    flex-direction: column;
    align-items: flex-start;
    padding: 0.5rem 0;
  }
  .user {
    align-items: flex-end;
  }
  .words {
    max-width: min(85%, 36rem);
    padding: 0.6rem 1rem;
    border-radius: 18px 18px 5px 18px;
    background: var(--chatbox-tint);
    white-space: pre-wrap;
    overflow-wrap: anywhere;
  }
  .admin .words {
    border: 1px solid var(--chatbox-warm);
    border-radius: 5px 18px 18px 18px;
    background: var(--chatbox-warm-tint);
  }
  .author {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    max-width: 100%;
    margin-bottom: 0.35rem;
    font-size: 0.88rem;
    font-weight: 620;
    color: var(--chatbox-warm);
  }
  .author .name {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .author .role {
    font-weight: 450;
    color: var(--chatbox-ink-soft);
  }
  chatbox-markdown {
    width: 100%;
    min-height: 1.6rem;
  }
  .past {
    width: 100%;
    margin: 0 0 0.75rem;
    padding-left: 1rem;
    border-left: 2px solid var(--chatbox-line);
    color: var(--chatbox-ink-soft);
  }
  .past chatbox-markdown + chatbox-markdown {
    margin-top: 0.75rem;
    padding-top: 0.75rem;
    border-top: 1px dashed var(--chatbox-line);
  }
  .past chatbox-markdown {
    color: inherit;
  }
  .earlier {
    display: inline-flex;
    align-items: center;
    gap: 0.25rem;
    min-height: 1.75rem;
    margin-bottom: 0.25rem;
    font-size: 0.82rem;
    color: var(--chatbox-ink-soft);
    border-radius: 7px;
  }
  .earlier:hover {
    color: var(--chatbox-ink);
  }
  .earlier svg {
    width: 1rem;
    height: 1rem;
    transition: transform 0.15s;
  }
  .earlier[aria-expanded="true"] svg {
    transform: rotate(180deg);
  }
  footer {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.15rem 0.7rem;
    min-height: 1.9rem;
    font-size: 0.79rem;
    color: var(--chatbox-ink-soft);
  }
  .user footer {
    justify-content: flex-end;
  }
  .user .actions {
    order: -1;
  }
  .finish {
    display: inline-flex;
    align-items: center;
    gap: 0.35rem;
  }
  .finish svg {
    width: 1rem;
    height: 1rem;
  }
  .bad {
    color: var(--chatbox-bad);
  }
  .pending {
    animation: appear 0.3s 0.4s both;
  }
  .actions {
    display: inline-flex;
    transition: opacity 0.15s;
  }
  .act {
    display: grid;
    place-items: center;
    width: 1.9rem;
    height: 1.9rem;
    border-radius: 8px;
    color: var(--chatbox-ink-soft);
  }
  .act:hover {
    background: var(--chatbox-hover);
    color: var(--chatbox-ink);
  }
  .act svg {
    width: 1.02rem;
    height: 1.02rem;
  }
  @media (hover: hover) {
    .actions {
      opacity: 0;
    }
    :host(:hover) .actions,
    :host([last]) .actions,
    .actions:focus-within {
      opacity: 1;
    }
  }
  @media (hover: none) {
    .act {
      width: 2.4rem;
      height: 2.4rem;
    }
  }
  @keyframes appear {
    from {
      opacity: 0;
    }
  }
`;
