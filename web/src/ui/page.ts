import type { Api, PageSettings } from "../api";
import { Chat } from "../chat/chat";
import { Sessions } from "../chat/sessions";
import type { Store } from "../storage";
import type { Claims } from "../token/claims";
import { soon } from "./browser";
import { Entrance, type Stage } from "./entrance";
import { onWake } from "./wake";

export interface PageEvents {
  changed(): void;
  /** the session that the chat is in; `fresh`: the reader asked for a new one */
  named(sessionId: string, fresh: boolean): void;
  /** a conversation is gone for good */
  removed(sessionId: string): void;
}

/** What one loaded page has: its settings, its token and, with one, the user's chat and conversations. */
export class Page {
  chat: Chat | null = null;
  sessions: Sessions | null = null;
  userName = "";
  private readonly entrance: Entrance;
  private first: () => string | null = () => null;
  private userId: string | null = null;

  constructor(
    private readonly base: string,
    private readonly store: Store,
    private readonly events: PageEvents,
  ) {
    this.entrance = new Entrance(base, store, { changed: events.changed, signedIn: (claims) => this.signedIn(claims) });
  }

  get stage(): Stage {
    return this.entrance.stage;
  }

  get settings(): PageSettings | null {
    return this.entrance.settings;
  }

  get hasHost(): boolean {
    return this.entrance.hasHost;
  }

  get api(): Api {
    return this.entrance.api;
  }

  /** Read the settings, as often as it takes, then find a token. `first` is the session to open. */
  async start(fragmentToken: string | null, first: () => string | null): Promise<void> {
    this.first = first;
    await this.entrance.start(fragmentToken);
    this.follow();
  }

  private signedIn(claims: Claims): void {
    this.userName = claims.name;
    if (claims.userId === this.userId) return this.chat?.tokenRenewed();
    this.chat?.close();
    this.userId = claims.userId;
    this.sessions = new Sessions(this.api, this.events.changed, this.events.removed);
    this.chat = this.newChat(claims.userId);
    this.entrance.become("ready");
    this.chat.open(this.first());
    void this.sessions.read();
  }

  private newChat(userId: string): Chat {
    const { base, api, store, events, entrance } = this;
    return new Chat({
      api,
      store,
      userId,
      soon,
      needToken: (refused) => entrance.needToken(refused),
      changed: events.changed,
      named: events.named,
      activity: () => this.sessions?.refresh(),
      around: { url: (place, client) => socketUrl(base, { ...place, client }), ...entrance.around },
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
