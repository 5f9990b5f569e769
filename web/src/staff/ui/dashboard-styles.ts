import { css } from "lit";

export const dashboardStyles = css`
  :host {
    display: block;
    height: 100%;
  }
  .frame {
    display: grid;
    grid-template-columns: auto minmax(0, 1fr);
    height: 100%;
  }
  main {
    position: relative;
    min-width: 0;
    min-height: 0;
    background: var(--chatbox-page);
  }
  .desk {
    display: grid;
    grid-template-columns: 20.5rem minmax(0, 1fr);
    height: 100%;
  }
  chatbox-inbox {
    border-right: 1px solid var(--chatbox-line);
  }
  .work {
    display: flex;
    flex-direction: column;
    min-width: 0;
    min-height: 0;
  }
  .panes {
    display: flex;
    flex: 1;
    min-height: 0;
    overflow-x: auto;
  }
  chatbox-pane {
    flex: 1 0 100%;
  }
  .columns chatbox-pane {
    flex: 1 0 20rem;
  }
  .columns chatbox-pane + chatbox-pane {
    border-left: 1px solid var(--chatbox-line);
  }
  .columns .front {
    box-shadow: inset 0 2px 0 var(--chatbox-accent);
  }
  .choose {
    display: grid;
    align-content: center;
    justify-items: center;
    flex: 1;
    gap: 0.8rem;
    padding: 2rem;
    text-align: center;
    color: var(--chatbox-ink-soft);
  }
  .choose svg {
    width: 2.2rem;
    height: 2.2rem;
  }
  .choose p {
    max-width: 24rem;
    text-wrap: balance;
  }
  @media (max-width: 1080px) {
    .desk {
      grid-template-columns: 17.5rem minmax(0, 1fr);
    }
  }
  @media (max-width: 760px) {
    .frame {
      grid-template-columns: minmax(0, 1fr);
      grid-template-rows: minmax(0, 1fr) auto;
    }
    main {
      grid-row: 1;
    }
    .desk {
      grid-template-columns: minmax(0, 1fr);
    }
    chatbox-inbox {
      border: 0;
    }
    /* Below the way back to the list. */
    chatbox-link-line {
      top: 3.9rem;
    }
  }
`;
