import type { Store } from "../storage";
import type { Claims } from "../token/claims";
import { soon } from "../ui/browser";
import { Entrance } from "../ui/entrance";
import { onWake } from "../ui/wake";
import { StaffApi, type Act, type Alert, type Takeover } from "./api";
import { Bell } from "./bell";
import { Canned } from "./canned";
import { Desk } from "./desk";
import type { StaffSession } from "./frames";
import { Records } from "./records";

const STAFF_ROLES = ["admin", "chat_admin"];

export interface StaffPageEvents {
  changed(): void;
  /** a desk is there, the first or another member of staff's */
  seated(desk: Desk): void;
  /** somebody asks for help who did not before */
  called(sessions: StaffSession[]): void;
}

/** What one loaded page of staff has: a token, and with the role a desk to work at. */
export class StaffPage {
  desk: Desk | null = null;
  readonly entrance: Entrance;
  readonly api: StaffApi;
  readonly bell: Bell;
  readonly canned: Canned;
  readonly takeovers: Records<Takeover>;
  readonly audit: Records<Act>;
  readonly alerts: Records<Alert>;
  private userId: string | null = null;
  private roleMissing = false;

  constructor(
    private readonly base: URL,
    private readonly store: Store,
    private readonly events: StaffPageEvents,
  ) {
    const { changed } = events;
    this.entrance = new Entrance(base.href, store, { changed, signedIn: (claims) => this.signedIn(claims) });
    this.api = new StaffApi(base.href, () => this.entrance.token);
    this.bell = new Bell(window, store, changed);
    this.canned = new Canned(this.api, changed);
    this.takeovers = new Records((cursor) => this.api.takeovers(cursor), changed);
    this.audit = new Records((cursor) => this.api.audit(cursor), changed);
    this.alerts = new Records((cursor) => this.api.alerts(cursor), changed);
  }

  /** The reader is no member of staff, says the token or the server. */
  get refused(): boolean {
    const link = this.desk?.link;
    return this.roleMissing || (link?.is === "stopped" && link.reason === "forbidden");
  }

  async start(fragmentToken: string | null): Promise<void> {
    await this.entrance.start(fragmentToken);
    window.addEventListener("online", () => this.desk?.network(true));
    window.addEventListener("offline", () => this.desk?.network(false));
    onWake(window, () => this.desk?.look());
  }

  private signedIn({ userId, name, roles }: Claims): void {
    this.roleMissing = !roles.some((role) => STAFF_ROLES.includes(role));
    this.entrance.become("ready");
    if (!this.roleMissing && this.desk && userId === this.userId) return this.desk.tokenRenewed();
    this.desk?.close();
    this.desk = this.roleMissing ? null : this.newDesk(userId, name);
    this.userId = userId;
    if (this.desk) this.events.seated(this.desk);
    this.desk?.start();
  }

  private newDesk(id: string, name: string): Desk {
    const { base, store, events, entrance } = this;
    return new Desk({
      me: { id, name },
      store,
      soon,
      needToken: (refused) => entrance.needToken(refused),
      changed: events.changed,
      called: (sessions) => {
        this.bell.ring();
        events.called(sessions);
      },
      probe: () => this.api.probe(),
      around: { url: (_, client) => socketUrl(base, client), ...entrance.around },
    });
  }
}

function socketUrl(base: URL, client: string): string {
  const url = new URL("admin/ws", base);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("client", client);
  return url.href;
}
