import { css } from "lit";

export const dialogStyles = css`
  dialog {
    width: min(32rem, calc(100vw - 2rem));
    max-height: calc(100dvh - 2rem);
    padding: 1.3rem 1.5rem 1.4rem;
    overflow-y: auto;
    border: 1px solid var(--chatbox-line);
    border-radius: 20px;
    background: var(--chatbox-raised);
    color: var(--chatbox-ink);
    box-shadow: var(--chatbox-shadow);
  }
  dialog::backdrop {
    background: light-dark(#1d232166, #000a);
  }
  h2 {
    font-size: 1.1rem;
    font-weight: 650;
    letter-spacing: -0.01em;
  }
  .buttons {
    display: flex;
    flex-wrap: wrap;
    justify-content: flex-end;
    gap: 0.6rem;
    margin-top: 1.3rem;
  }
`;
