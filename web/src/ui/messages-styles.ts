import { css } from "lit";

export const messagesStyles = css`
  :host {
    position: relative;
    min-height: 0;
  }
  .scroller {
    height: 100%;
    overflow-y: auto;
    overscroll-behavior: contain;
    scrollbar-gutter: stable;
    scrollbar-width: thin;
    scrollbar-color: var(--chatbox-line) transparent;
    outline-offset: -3px;
  }
  .content {
    display: flex;
    flex-direction: column;
    max-width: var(--chatbox-measure);
    min-height: 100%;
    margin: 0 auto;
    /* the line about the connection lies over the upper edge */
    padding: 2.6rem 1.25rem 1.5rem;
  }
  .before {
    align-self: center;
    margin: 0.5rem 0 1rem;
    font-size: 0.85rem;
    min-height: 2.2rem;
  }
  .day,
  .event,
  .unreadable {
    text-align: center;
    font-size: 0.8rem;
    color: var(--chatbox-ink-soft);
    padding: 0.75rem 0;
  }
  .day {
    font-weight: 600;
    letter-spacing: 0.02em;
  }
  .event {
    display: flex;
    align-items: center;
    gap: 1rem;
    overflow-wrap: anywhere;
  }
  .event::before,
  .event::after {
    content: "";
    flex: 1;
    min-width: 1rem;
    border-top: 1px solid var(--chatbox-line);
  }
  .event.staff {
    color: var(--chatbox-warm);
    font-weight: 600;
  }
  .unreadable {
    color: var(--chatbox-bad);
    font-size: 0.9rem;
  }
  .thinking {
    display: flex;
    align-items: center;
    gap: 0.35rem;
    height: 1.6rem;
    margin: 0.5rem 0 2.4rem;
  }
  .thinking i {
    width: 0.5rem;
    height: 0.5rem;
    border-radius: 50%;
    background: var(--chatbox-accent);
    animation: breathe 1.3s ease-in-out infinite both;
  }
  .thinking i:nth-child(2) {
    animation-delay: 0.18s;
  }
  .thinking i:nth-child(3) {
    animation-delay: 0.36s;
  }
  .typing {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    overflow-wrap: anywhere;
    font-size: 0.85rem;
    color: var(--chatbox-ink-soft);
    padding: 0.4rem 0;
  }
  .pill {
    position: absolute;
    left: 50%;
    bottom: 0.75rem;
    transform: translateX(-50%);
    display: inline-flex;
    align-items: center;
    gap: 0.45rem;
    min-width: 2.4rem;
    height: 2.4rem;
    padding: 0 0.55rem;
    border-radius: 1.2rem;
    border: 1px solid var(--chatbox-line);
    background: var(--chatbox-raised);
    box-shadow: var(--chatbox-shadow);
    font-size: 0.85rem;
    font-weight: 600;
  }
  .pill.news {
    padding: 0 1rem 0 0.7rem;
    background: var(--chatbox-accent);
    border-color: transparent;
    color: var(--chatbox-on-accent);
  }
  @keyframes breathe {
    0%,
    70%,
    100% {
      opacity: 0.25;
      transform: scale(0.8);
    }
    35% {
      opacity: 1;
      transform: none;
    }
  }
  @media (max-width: 760px) {
    .content {
      padding-top: 3.3rem;
    }
  }
`;
