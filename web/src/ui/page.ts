import { Api, type PageSettings } from "../api";
import { Chat } from "../chat/chat";
import { Sessions } from "../chat/sessions";
import type { Store } from "../storage";
import type { Claims } from "../token/claims";
import { Origins } from "../token/origins";
import { TokenSource } from "../token/source";
import { Backoff } from "../wire/backoff";
import { soon } from "./browser";
import { onWake } from "./wake";

/** `start`: settings are being read. `unreachable`: nothing answers. `signin`: nobody has given a token. */
export type Stage = "start" | "unreachable" | "signin" | "ready";

export interface PageEvents {
  changed(): void;
  /** the session that the chat is in; `fresh`: the reader asked for a new one */
  named(sessionId: string, fresh: boolean): void;
  /** a conversation is gone for good */
  removed(sessionId: string): void;
}

/** A dead line is found within 30 s, within 15 s by those who wait for something. */
const HEARTBEAT = { every: 20_000, waiting: 5_000, patience: 10_000 };

/** What one loaded page has: its settings, its token and, with one, the user's chat and conversations. */
export class Page {
  stage: Stage = "start";
  settings: PageSettings | null = null;
  chat: Chat | null = null;
  sessions: Sessions | null = null;
  userName = "";
  readonly api: Api;
  private tokens: TokenSource | null = null;
  private userId: string | null = null;
  private readonly backoff = new Backoff();

  constructor(
    private readonly base: string,
    private readonly store: Store,
    private readonly events: PageEvents,
  ) {
    this.api = new Api(base, () => this.tokens?.token ?? null);
  }

  get hasHost(): boolean {
    return this.tokens?.hasHost ?? false;
  }

  /** Read the settings, as often as it takes, then find a token. `first` is the session to open. */
  async start(fragmentToken: string | null, first: () => string | null): Promise<void> {
    this.settings = await this.readSettings();
    const origins = new Origins(location.origin, this.settings.allowed_origins, this.settings.mode === "development");
    this.tokens = new TokenSource(window, this.store, origins, {
      token: (_, claims) => this.signedIn(claims, first),
      missing: () => this.become("signin"),
    });
    this.tokens.start(fragmentToken);
    this.follow();
  }

  private async readSettings(): Promise<PageSettings> {
    for (;;) {
      const settings = await this.api.page().catch(() => null);
      if (settings) return settings;
      this.become("unreachable");
      await new Promise((resolve) => setTimeout(resolve, this.backoff.next()));
    }
  }

  private signedIn(claims: Claims, first: () => string | null): void {
    this.userName = claims.name;
    if (claims.userId === this.userId) return this.chat?.tokenRenewed();
    this.chat?.close();
    this.userId = claims.userId;
    this.sessions = new Sessions(this.api, this.events.changed, this.events.removed);
    this.chat = this.newChat(claims.userId);
    this.become("ready");
    this.chat.open(first());
    void this.sessions.read();
  }

  private newChat(userId: string): Chat {
    const { base, api, store, events } = this;
    return new Chat({
      api,
      store,
      userId,
      soon,
      needToken: (refused) => (refused ? this.tokens?.forget() : this.tokens?.ask()),
      changed: events.changed,
      named: events.named,
      activity: () => this.sessions?.refresh(),
      around: {
        url: (place, client) => socketUrl(base, { ...place, client }),
        token: () => this.tokens?.token ?? null,
        open: (url, protocols) => new WebSocket(url, protocols),
        random: Math.random,
        heartbeat: HEARTBEAT,
      },
    });
  }

  private follow(): void {
    window.addEventListener("online", () => this.chat?.network(true));
    window.addEventListener("offline", () => this.chat?.network(false));
    window.addEventListener("pagehide", () => this.sessions?.removeNow());
    onWake(window, () => {
      this.chat?.look();
      this.sessions?.refresh();
    });
  }

  private become(stage: Stage): void {
    this.stage = stage;
    this.events.changed();
  }
}

function socketUrl(
  base: string,
  at: { sessionId: string | null; epoch: string | null; lastSeq: number | null; client: string },
): string {
  const url = new URL("ws", base);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("client", at.client);
  if (at.sessionId !== null) url.searchParams.set("session_id", at.sessionId);
  if (at.epoch !== null) url.searchParams.set("epoch", at.epoch);
  if (at.lastSeq !== null) url.searchParams.set("last_seq", String(at.lastSeq));
  return url.href;
}
