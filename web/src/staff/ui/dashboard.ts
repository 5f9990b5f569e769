import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { Localized, t } from "../../i18n/locale";
import type { Store } from "../../storage";
import { entranceNotice } from "../../ui/entrance-notice";
import { icon } from "../../ui/icons";
import "../../ui/link-line";
import "../../ui/notice-page";
import { parseRoute } from "../../ui/routes";
import { Shortcuts } from "../../ui/shortcuts";
import { base } from "../../ui/styles";
import type { Appearance } from "../../ui/theme";
import "../../ui/toast";
import type { Conversation } from "../conversation";
import type { Desk } from "../desk";
import type { StaffSession } from "../frames";
import { s } from "../i18n/texts";
import { StaffPage } from "../page";
import { readPlace, START, VIEWS, writePlace, type Place, type View } from "../place";
import { Unread } from "../unread";
import "./alerts-view";
import { blocking, closingHeld, type Asking } from "./askings";
import "./audit-view";
import { dashboardStyles } from "./dashboard-styles";
import "./inbox";
import type { Inbox } from "./inbox";
import "./keys-dialog";
import "./metrics-view";
import "./pane";
import type { Pane } from "./pane";
import "./question";
import "./rail";
import "./replies-view";
import "./tabs";
import "./takeovers-view";

const NARROW = window.matchMedia("(max-width: 760px)");

/** The staff's part of the page: what the address shows, and what its parts ask for. */
@customElement("chatbox-staff")
export class Dashboard extends LitElement {
  static override styles = [base, dashboardStyles];

  @property({ attribute: false }) base!: URL;
  @property({ attribute: false }) store!: Store;
  @property({ attribute: false }) appearance!: Appearance;
  @property({ attribute: false }) fragmentToken: string | null = null;
  @state() private place: Place = START;
  @state() private revision = 0;
  @state() private narrow = NARROW.matches;
  @state() private columns = false;
  @state() private keys = false;
  @state() private asking: Asking | null = null;
  @state() private notice = "";
  @state() private announced = "";
  @query("chatbox-inbox") private readonly inbox!: Inbox | null;
  @query("chatbox-pane.front") private readonly pane!: Pane | null;
  private readonly unread = new Unread();
  private page: StaffPage | null = null;

  constructor() {
    super();
    new Localized(this);
    new Shortcuts(this, {
      KeyQ: () => this.openNext(),
      KeyT: () => this.toggleTakeover(),
      KeyI: () => this.pane?.write(),
      KeyN: () => this.pane?.note(),
      KeyR: () => this.pane?.pick(),
      KeyU: () => this.pane?.toggleDetails(),
      KeyJ: () => this.turn(-1),
      KeyK: () => this.turn(1),
      KeyX: () => this.place.at && this.close(this.place.at),
      KeyL: () => this.toInbox((inbox) => inbox.focus()),
      KeyS: () => this.toInbox((inbox) => inbox.search()),
      KeyM: () => this.page?.bell.toggle(),
      KeyH: () => (this.keys = true),
      ...Object.fromEntries(VIEWS.map((view, index) => [`Digit${index + 1}`, () => this.view(view)])),
    });
    window.addEventListener("popstate", () => this.follow());
    document.addEventListener("visibilitychange", () => this.revision++);
    NARROW.addEventListener("change", () => (this.narrow = NARROW.matches));
  }

  protected override willUpdate(): void {
    this.page ??= this.enter();
    const { desk } = this;
    if (!desk) return;
    const looking = this.place.view === "conversations" && !document.hidden;
    this.unread.follow(desk.conversations.values(), (id) => looking && (id === this.place.at || (this.columns && !this.narrow)));
  }

  private get desk(): Desk | null {
    return this.page?.desk ?? null;
  }

  private enter(): StaffPage {
    this.place = this.readPlace();
    const page = new StaffPage(this.base, this.store, {
      changed: () => this.revision++,
      seated: (desk) => this.begin(desk),
      called: (sessions) => (this.announced = calledText(sessions)),
    });
    void page.start(this.fragmentToken);
    return page;
  }

  protected override render(): TemplateResult {
    const { desk, entrance, refused } = this.page!;
    const early = entranceNotice(entrance);
    if (early) return early;
    if (refused || !desk) return this.renderRefusal();
    return html`<div class="frame">
        ${this.narrow && this.place.view === "conversations" && this.place.at ? nothing : this.renderRail(desk, this.page!)}
        <main>
          <chatbox-link-line .link=${desk.link} @reconnect=${() => desk.reconnect()}></chatbox-link-line>
          ${this.renderView(desk, this.page!)}
        </main>
      </div>
      <div class="hidden" role="status" aria-live="assertive">${this.announced}</div>
      ${this.keys ? html`<chatbox-keys @close=${() => (this.keys = false)}></chatbox-keys>` : nothing}
      ${this.asking ? this.renderQuestion(this.asking) : nothing}
      <chatbox-toast .text=${this.notice} @close=${() => (this.notice = "")}></chatbox-toast>`;
  }

  protected override updated(): void {
    const waiting = this.desk?.queue.total ?? 0;
    document.title = waiting > 0 ? `(${waiting}) ${s("title")}` : s("title");
  }

  private renderRefusal(): TemplateResult {
    return html`<chatbox-notice icon="lock" heading=${s("refusedTitle")} text=${s("refusedText")}>
      <a class="button" href="./">${t("toChat")}</a>
    </chatbox-notice>`;
  }

  private renderRail(desk: Desk, { bell }: StaffPage): TemplateResult {
    return html`<chatbox-rail
      .view=${this.place.view}
      .waiting=${desk.queue.total}
      .me=${desk.me}
      .roleHeld=${desk.role}
      .colleagues=${desk.colleagues}
      .bell=${bell}
      .appearance=${this.appearance}
      .revision=${this.revision}
      @view=${(event: CustomEvent<View>) => this.view(event.detail)}
      @keys=${() => (this.keys = true)}
    ></chatbox-rail>`;
  }

  private renderView(desk: Desk, page: StaffPage): TemplateResult {
    const { revision } = this;
    const open = (event: CustomEvent<string>): void => this.open(event.detail);
    switch (this.place.view) {
      case "conversations":
        return this.renderDesk(desk);
      case "metrics":
        return html`<chatbox-metrics .report=${desk.report} .revision=${revision} @period=${(event: CustomEvent) => this.go({ period: event.detail })}></chatbox-metrics>`;
      case "takeovers":
        return html`<chatbox-takeovers .records=${page.takeovers} .revision=${revision} @open=${open}></chatbox-takeovers>`;
      case "audit":
        return html`<chatbox-audit
          .records=${page.audit}
          .export=${() => page.api.exportAudit()}
          .revision=${revision}
          ?admin=${desk.role === "admin"}
          @open=${open}
        ></chatbox-audit>`;
      case "alerts":
        return html`<chatbox-alerts .records=${page.alerts} .retry=${(id: string) => page.api.retryAlert(id)} .revision=${revision} @open=${open}></chatbox-alerts>`;
      case "replies":
        return html`<chatbox-replies
          .canned=${page.canned}
          .revision=${revision}
          @ask=${(event: CustomEvent<Asking>) => (this.asking = event.detail)}
        ></chatbox-replies>`;
    }
  }

  private renderDesk(desk: Desk): TemplateResult {
    const { at } = this.place;
    return html`<h1 class="hidden">${s("title")}</h1>
      <div class="desk">
      ${this.narrow && at !== null
        ? nothing
        : html`<chatbox-inbox
            .desk=${desk}
            .revision=${this.revision}
            .current=${at}
            @open=${(event: CustomEvent<string>) => this.open(event.detail)}
            @query=${(event: CustomEvent) => this.go({ query: event.detail }, false)}
          ></chatbox-inbox>`}
      ${this.narrow && at === null ? nothing : this.renderWork(desk)}
    </div>`;
  }

  private renderWork(desk: Desk): TemplateResult {
    const { open, at } = this.place;
    const conversations = open.flatMap((id) => desk.conversations.get(id) ?? []);
    const columns = this.columns && !this.narrow && conversations.length > 1;
    return html`<div class="work">
      ${this.narrow || conversations.length === 0 ? nothing : this.renderTabs(conversations)}
      ${at === null && !columns ? this.renderChoose() : nothing}
      <div class="panes ${columns ? "columns" : ""}" ?hidden=${at === null && !columns}>
        ${repeat(
          conversations,
          ({ id }) => id,
          (conversation) => this.renderPane(desk, conversation, columns || conversation.id === at),
        )}
      </div>
    </div>`;
  }

  private renderTabs(conversations: Conversation[]): TemplateResult {
    return html`<chatbox-tabs
      .conversations=${conversations}
      .revision=${this.revision}
      .current=${this.place.at}
      .columns=${this.columns}
      .news=${new Set(this.unread.ids)}
      @show=${(event: CustomEvent<string>) => this.open(event.detail)}
      @close=${(event: CustomEvent<string>) => this.close(event.detail)}
      @columns=${() => (this.columns = !this.columns)}
    ></chatbox-tabs>`;
  }

  private renderChoose(): TemplateResult {
    return html`<div class="choose">
      ${icon("chats")}
      <p>${s("choose")}</p>
      <button class="button small" @click=${() => (this.keys = true)}>${icon("keyboard")} ${s("keys")}</button>
    </div>`;
  }

  private renderPane(desk: Desk, conversation: Conversation, shown: boolean): TemplateResult {
    const { id } = conversation;
    return html`<chatbox-pane
      class=${id === this.place.at ? "front" : ""}
      .conversation=${conversation}
      .desk=${desk}
      .canned=${this.page!.canned}
      .revision=${this.revision}
      .shown=${shown}
      ?narrow=${this.narrow}
      ?hidden=${!shown}
      @focusin=${() => this.columns && id !== this.place.at && this.go({ at: id }, false)}
      @back=${() => this.back()}
      @close=${() => this.close(id)}
      @open=${(event: CustomEvent<string>) => this.open(event.detail)}
      @block=${() => this.askToBlock(conversation)}
    ></chatbox-pane>`;
  }

  private renderQuestion({ heading, text, reason, choices }: Asking): TemplateResult {
    return html`<chatbox-question
      .heading=${heading}
      .text=${text}
      .reason=${reason ?? ""}
      .choices=${choices}
      @close=${() => (this.asking = null)}
    ></chatbox-question>`;
  }

  // What the parts ask for.

  private open(id: string): void {
    const open = this.place.open.includes(id) ? this.place.open : [...this.place.open, id];
    this.go({ view: "conversations", open, at: id });
    void this.updateComplete.then(() => this.pane?.focus());
  }

  private openNext(): void {
    const { desk } = this;
    const next = desk?.queue.sessions.find(({ id }) => id !== this.place.at) ?? desk?.queue.sessions[0];
    if (next) this.open(next.id);
  }

  private close(id: string): void {
    const conversation = this.desk?.conversations.get(id);
    if (!conversation?.held) return this.shut(id);
    this.asking = closingHeld(
      () => this.shut(id),
      () => conversation.handBack(),
    );
  }

  private shut(id: string): void {
    const { open, at } = this.place;
    const rest = open.filter((other) => other !== id);
    const next = rest[Math.min(open.indexOf(id), rest.length - 1)] ?? null;
    this.go({ open: rest, at: at === id ? (this.narrow ? null : next) : at }, false);
    void this.updateComplete.then(() => (this.pane ?? this.inbox)?.focus());
  }

  private back(): void {
    const from = this.place.at;
    this.go({ at: null }, false);
    void this.updateComplete.then(() => this.inbox?.focus({}, from));
  }

  private turn(by: number): void {
    const { open, at } = this.place;
    const to = open[(open.indexOf(at ?? "") + by + open.length) % open.length];
    if (to) this.open(to);
  }

  private toggleTakeover(): void {
    const conversation = this.desk?.conversations.get(this.place.at ?? "");
    if (conversation?.held) conversation.handBack();
    else if (conversation && !conversation.holder) conversation.takeOver();
  }

  private askToBlock({ session }: Conversation): void {
    if (!session) return;
    const name = session.user_name || session.user_id;
    this.asking = blocking(name, (reason) => void this.block(session.user_id, name, reason));
  }

  private async block(userId: string, name: string, reason: string): Promise<void> {
    this.notice = await this.page!.api.block(userId, reason).then(
      () => s("blocked", { name }),
      () => s("actionFailed"),
    );
  }

  private toInbox(then: (inbox: Inbox) => void): void {
    this.go({ view: "conversations", ...(this.narrow && { at: null }) }, false);
    void this.updateComplete.then(() => this.inbox && then(this.inbox));
  }

  private view(view: View): void {
    this.go({ view, ...(this.narrow && { at: null }) });
  }

  // The address.

  private begin(desk: Desk): void {
    desk.open(this.place.open);
    desk.list.show(this.place.query);
    if (this.place.view === "metrics") desk.report.show(this.place.period);
    history.replaceState(null, "", this.address);
    void this.openHeld(desk);
  }

  /** What one had before, in another tab or before a break, is not forgotten. */
  private async openHeld(desk: Desk): Promise<void> {
    const held = await this.page!.api.heldBy(desk.me.id).catch(() => []);
    const open = [...new Set([...this.place.open, ...held])];
    if (open.length > this.place.open.length) this.go({ open }, false);
  }

  /** Be somewhere else; `step`: the browser's way back leads here again. */
  private go(change: Partial<Place>, step = true): void {
    const before = this.place;
    this.place = { ...before, ...change };
    if (step) history.pushState(null, "", this.address);
    else history.replaceState(null, "", this.address);
    this.move(before);
  }

  private follow(): void {
    const before = this.place;
    this.place = this.readPlace();
    this.move(before);
  }

  private move(before: Place): void {
    const { desk } = this;
    const { view, open, query: asked, period } = this.place;
    if (!desk) return;
    desk.open(open);
    if (JSON.stringify(asked) !== JSON.stringify(before.query)) desk.list.show(asked);
    const reporting = view === "metrics";
    if (reporting && (before.view !== view || JSON.stringify(period) !== JSON.stringify(before.period))) desk.report.show(period);
    if (!reporting && before.view === "metrics") desk.report.hide();
  }

  private readPlace(): Place {
    const route = parseRoute(location.pathname, this.base.pathname);
    return readPlace(location.search, route.view === "staff" ? route.sessionId : null);
  }

  private get address(): URL {
    return new URL(`staff${writePlace(this.place, location.search)}`, this.base);
  }
}

function calledText(sessions: StaffSession[]): string {
  const names = sessions.map(({ user_name, user_id }) => user_name || user_id).join(", ");
  return s("called", { names });
}
