/** How often the clock is looked at, and what it must have jumped by to have slept, ms. */
const TICK = 5_000;
const SLEPT = 15_000;

/** Tells when a page may have been away: shown again, thawed, back from the history's cache, or asleep with its machine. */
export function onWake(page: Window, awake: () => void): void {
  const { document } = page;
  const look = (): void => {
    if (!document.hidden) awake();
  };
  document.addEventListener("visibilitychange", look);
  document.addEventListener("resume", look);
  page.addEventListener("pageshow", (event) => event.persisted && look());
  let seen = Date.now();
  page.setInterval(() => {
    const passed = Date.now() - seen;
    seen += passed;
    if (passed > SLEPT) look();
  }, TICK);
}
