import { readClaims, type Claims } from "./claims";
import type { Origins } from "./origins";
import type { Store } from "../storage";

const KEY = "chatbox.token";
/** Ask for the next token this long before the present one expires, and again while none has come. */
const EARLY = 60_000;
const AGAIN = 15_000;
/** How long a parent window may take to answer before the token of the last load is used. */
const PARENT_PATIENCE = 1_200;
/** setTimeout holds no longer waits. */
const LONGEST = 2 ** 31 - 1;

export interface TokenEvents {
  /** A token is there, the first or a new one. */
  token(token: string, claims: Claims): void;
  /** There is none, and nobody who could give one has answered so far. */
  missing(): void;
}

/** Where the token comes from: the address's fragment, the window that embeds or opened this one, the tab's last load. */
export class TokenSource {
  private value: string | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly host: Window | null;

  constructor(
    private readonly page: Window,
    private readonly store: Store,
    private readonly origins: Origins,
    private readonly events: TokenEvents,
  ) {
    this.host = page.parent !== page ? page.parent : page.opener;
  }

  get token(): string | null {
    return this.value;
  }

  get hasHost(): boolean {
    return this.host !== null;
  }

  start(fragmentToken: string | null): void {
    this.page.addEventListener("message", (event) => this.receive(event));
    const stored = this.store.getItem(KEY);
    if (fragmentToken && this.take(fragmentToken)) return;
    if (!this.host) return this.settle(stored);
    this.say("chatbox.ready");
    this.timer = setTimeout(() => this.settle(stored), PARENT_PATIENCE);
  }

  /** The server refused the token, or it is about to expire: ask for another. */
  ask(): void {
    this.say("chatbox.token_request");
    this.askAgainIn(AGAIN);
  }

  /** The token is of no use any more. */
  forget(): void {
    this.value = null;
    this.store.removeItem(KEY);
    this.ask();
  }

  private settle(stored: string | null): void {
    if (this.value !== null) return;
    if (stored && this.take(stored)) return;
    this.events.missing();
    this.askAgainIn(AGAIN);
  }

  private receive(event: MessageEvent): void {
    if (event.source === null || event.source !== this.host || !this.origins.allows(event.origin)) return;
    const data: unknown = event.data;
    if (typeof data !== "object" || data === null) return;
    const { type, token } = data as { type?: unknown; token?: unknown };
    if (type === "chatbox.token" && typeof token === "string") this.take(token);
  }

  private take(token: string): boolean {
    const claims = readClaims(token);
    if (claims === null) return false;
    this.value = token;
    this.store.setItem(KEY, token);
    clearTimeout(this.timer);
    if (claims.expires !== null) this.askAgainIn(Math.max(AGAIN, claims.expires - EARLY - Date.now()));
    this.events.token(token, claims);
    return true;
  }

  private askAgainIn(ms: number): void {
    clearTimeout(this.timer);
    if (this.host) this.timer = setTimeout(() => this.ask(), Math.min(ms, LONGEST));
  }

  /** Says nothing secret, so any host may hear it. */
  private say(type: string): void {
    this.host?.postMessage({ type }, "*");
  }
}

/** Take `#token=…` out of the address, before anything else can see it. */
export function takeFragmentToken(page: Window): string | null {
  const fragment = new URLSearchParams(page.location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return null;
  fragment.delete("token");
  const rest = fragment.toString();
  page.history.replaceState(page.history.state, "", page.location.pathname + page.location.search + (rest ? `#${rest}` : ""));
  return token;
}
