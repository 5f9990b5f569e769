import { Api, type PageSettings } from "../api";
import type { Store } from "../storage";
import type { Claims } from "../token/claims";
import { Origins } from "../token/origins";
import { TokenSource } from "../token/source";
import { Backoff } from "../wire/backoff";
import type { Surroundings } from "../wire/connection";

/** `start`: settings are being read. `unreachable`: nothing answers. `signin`: nobody has given a token. */
export type Stage = "start" | "unreachable" | "signin" | "ready";

export interface EntranceEvents {
  changed(): void;
  /** a token is there, the first or a new one */
  signedIn(claims: Claims): void;
}

/** A dead line is found within 30 s, within 15 s by those who wait for something. */
const HEARTBEAT = { every: 20_000, waiting: 5_000, patience: 10_000 };

/** How every page begins: its settings are read, then a token is found. */
export class Entrance {
  stage: Stage = "start";
  settings: PageSettings | null = null;
  readonly api: Api;
  private tokens: TokenSource | null = null;
  private readonly backoff = new Backoff();

  constructor(
    base: string,
    private readonly store: Store,
    private readonly events: EntranceEvents,
  ) {
    this.api = new Api(base, () => this.token);
  }

  get token(): string | null {
    return this.tokens?.token ?? null;
  }

  get hasHost(): boolean {
    return this.tokens?.hasHost ?? false;
  }

  /** What a connection needs of a browser. */
  get around(): Pick<Surroundings, "token" | "open" | "random" | "heartbeat"> {
    return {
      token: () => this.token,
      open: (url, protocols) => new WebSocket(url, protocols),
      random: Math.random,
      heartbeat: HEARTBEAT,
    };
  }

  /** Read the settings, as often as it takes, then find a token. */
  async start(fragmentToken: string | null): Promise<void> {
    this.settings = await this.readSettings();
    const origins = new Origins(location.origin, this.settings.allowed_origins, this.settings.mode === "development");
    this.tokens = new TokenSource(window, this.store, origins, {
      token: (_, claims) => this.events.signedIn(claims),
      missing: () => this.become("signin"),
    });
    this.tokens.start(fragmentToken);
  }

  /** A new token is needed; `refused`: the server does not take the present one. */
  needToken(refused: boolean): void {
    if (refused) this.tokens?.forget();
    else this.tokens?.ask();
  }

  become(stage: Stage): void {
    this.stage = stage;
    this.events.changed();
  }

  private async readSettings(): Promise<PageSettings> {
    for (;;) {
      const settings = await this.api.page().catch(() => null);
      if (settings) return settings;
      this.become("unreachable");
      await new Promise((resolve) => setTimeout(resolve, this.backoff.next()));
    }
  }
}
