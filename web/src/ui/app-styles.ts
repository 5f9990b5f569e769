import { css } from "lit";

export const appStyles = css`
  :host {
    display: block;
    height: 100%;
  }
  .frame {
    position: relative;
    display: grid;
    grid-template-columns: 18.5rem minmax(0, 1fr);
    height: 100%;
  }
  nav {
    min-height: 0;
    border-right: 1px solid var(--chatbox-line);
  }
  main {
    min-width: 0;
    min-height: 0;
    background: var(--chatbox-page);
  }
  .veil {
    position: fixed;
    inset: 0;
    z-index: 9;
    background: light-dark(#1d232166, #000a);
    animation: appear 0.2s both;
  }
  .drawer {
    position: fixed;
    inset: 0 auto 0 0;
    z-index: 10;
    width: min(21rem, 88vw);
    box-shadow: var(--chatbox-shadow);
    animation: slide 0.22s cubic-bezier(0.2, 0.8, 0.3, 1) both;
  }
  @keyframes appear {
    from {
      opacity: 0;
    }
  }
  @keyframes slide {
    from {
      transform: translateX(-102%);
    }
  }
  @media (max-width: 760px) {
    .frame {
      grid-template-columns: minmax(0, 1fr);
    }
  }
`;
