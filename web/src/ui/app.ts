import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import type { Session } from "../api";
import { chooseLanguage, locale, Localized, t } from "../i18n/locale";
import { tabStore } from "../storage";
import { takeFragmentToken } from "../token/source";
import { appStyles } from "./app-styles";
import { download, filename } from "./browser";
import "./chat-view";
import type { ChatView } from "./chat-view";
import type { CommandDetail } from "./commands";
import { problemText } from "./message";
import { entranceNotice } from "./entrance-notice";
import { Page } from "./page";
import { parseRoute, sessionPath, type Route } from "./routes";
import "./share-dialog";
import "./shared-view";
import { Shortcuts } from "./shortcuts";
import "./side";
import type { Side } from "./side";
import { base } from "./styles";
import { Appearance } from "./theme";
import "./toast";

const NARROW = window.matchMedia("(max-width: 760px)");

/** The whole page: which view the address shows, and what its parts ask for. */
@customElement("chatbox-app")
export class App extends LitElement {
  static override styles = [base, appStyles];

  @state() private route: Route;
  @state() private revision = 0;
  @state() private narrow = NARROW.matches;
  @state() private drawer = false;
  @state() private sharing: Session | null = null;
  @state() private editing: { id: string; where: "side" | "header" } | null = null;
  @state() private notice = "";
  @query("chatbox-chat") private readonly chatView!: ChatView | null;
  @query("chatbox-side") private readonly side!: Side | null;

  private readonly base = new URL(".", document.baseURI);
  private readonly store = tabStore();
  private readonly appearance: Appearance;
  private readonly page: Page;
  private readonly staffToken: string | null;

  constructor() {
    super();
    const asked = new URLSearchParams(location.search);
    const token = takeFragmentToken(window);
    locale.use(chooseLanguage(asked.get("lang"), navigator.languages));
    this.appearance = new Appearance(document.documentElement, this.store, asked.get("theme"));
    this.route = this.readRoute();
    this.page = new Page(this.base.href, this.store, {
      changed: () => this.revision++,
      named: (id, fresh) => this.named(id, fresh),
      removed: (id) => this.removed(id),
    });
    new Localized(this);
    this.staffToken = token;
    if (this.route.view === "chat") this.startChat(token);
    // Users don't load what only staff see.
    if (this.route.view === "staff") void import("../staff/ui/dashboard");
    window.addEventListener("popstate", () => this.follow());
    NARROW.addEventListener("change", () => (this.narrow = NARROW.matches));
  }

  protected override render(): TemplateResult {
    if (this.route.view === "shared") return html`<chatbox-shared .api=${this.page.api} .token=${this.route.token}></chatbox-shared>`;
    if (this.route.view === "staff") return this.renderStaff();
    return entranceNotice(this.page) ?? this.renderChat();
  }

  protected override updated(): void {
    if (this.route.view !== "chat") return;
    const { chat, sessions } = this.page;
    const name = sessions?.find(chat?.sessionId ?? null)?.name || chat?.facts.name;
    document.title = name ? `${name} · ${t("appName")}` : t("appName");
  }

  private startChat(token: string | null): void {
    new Shortcuts(this, { KeyN: () => this.newChat(), KeyK: () => this.search(), KeyI: () => this.chatView?.focus() });
    void this.page.start(token, () => (this.route.view === "chat" ? this.route.sessionId : null));
  }

  private renderStaff(): TemplateResult {
    const { base, store, appearance, staffToken } = this;
    return html`<chatbox-staff .base=${base} .store=${store} .appearance=${appearance} .fragmentToken=${staffToken}></chatbox-staff>`;
  }

  private renderChat(): TemplateResult {
    const { chat, sessions, settings } = this.page;
    if (!chat || !sessions) return html``;
    return html`<div class="frame" @command=${(event: CustomEvent<CommandDetail>) => this.obey(event.detail)}>
        ${this.narrow ? nothing : html`<nav aria-label=${t("conversations")}>${this.renderSide(false)}</nav>`}
        <main>
          <chatbox-chat
            .chat=${chat}
            .session=${sessions.find(chat.sessionId)}
            .revision=${this.revision}
            ?narrow=${this.narrow}
            ?demo=${settings?.demo_model}
            ?editing=${this.editing?.where === "header" && this.editing.id === chat.sessionId}
            @list=${() => this.openDrawer()}
            @new=${() => this.newChat()}
            @rename=${(event: CustomEvent<string>) => this.rename(sessions.find(chat.sessionId), event.detail)}
          ></chatbox-chat>
        </main>
        ${this.narrow && this.drawer ? this.renderDrawer() : nothing}
      </div>
      ${this.sharing
        ? html`<chatbox-share-dialog .sessions=${sessions} .session=${this.sharing} @close=${() => (this.sharing = null)}></chatbox-share-dialog>`
        : nothing}
      ${this.renderToast()}`;
  }

  private renderSide(drawer: boolean): TemplateResult {
    const { chat, sessions, userName } = this.page;
    return html`<chatbox-side
      .sessions=${sessions}
      .appearance=${this.appearance}
      .revision=${this.revision}
      .current=${chat?.sessionId ?? null}
      .editing=${this.editing?.where === "side" ? this.editing.id : null}
      .userName=${userName}
      ?drawer=${drawer}
      @new=${() => this.newChat()}
      @open=${(event: CustomEvent<string>) => this.open(event.detail)}
      @close=${() => this.closeDrawer()}
      @rename=${({ detail }: CustomEvent<{ session: Session; name: string }>) => this.rename(detail.session, detail.name)}
    ></chatbox-side>`;
  }

  private renderDrawer(): TemplateResult {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !event.defaultPrevented) this.closeDrawer();
    };
    // What the drawer covers is not worked behind it.
    const onLeave = ({ relatedTarget }: FocusEvent): void => {
      if (relatedTarget instanceof Element && relatedTarget.closest("main")) this.drawer = false;
    };
    return html`<div class="veil" @click=${() => this.closeDrawer()}></div>
      <nav class="drawer" aria-label=${t("conversations")} @keydown=${onKey} @focusout=${onLeave}>${this.renderSide(true)}</nav>`;
  }

  private renderToast(): TemplateResult {
    const { chat, sessions } = this.page;
    const removal = sessions?.removal;
    const problem = chat?.problem ?? null;
    const text = removal ? t("deleted", { name: removal.session.name || t("untitled") }) : this.notice || (problem && problemText(problem)) || "";
    const close = (): void => {
      this.notice = "";
      chat?.dismiss();
    };
    return html`<chatbox-toast
      .text=${text}
      .action=${removal ? t("undo") : ""}
      @act=${() => sessions?.undo()}
      @close=${close}
    ></chatbox-toast>`;
  }

  // What the parts ask for.

  private async obey({ command, session }: CommandDetail): Promise<void> {
    const inDrawer = this.narrow && this.drawer;
    if (command === "rename") this.editing = { id: session.id, where: inDrawer || session.id !== this.page.chat?.sessionId ? "side" : "header" };
    if (command === "share") this.sharing = session;
    if (command === "delete") this.removeSession(session);
    if (command === "markdown" || command === "json") await this.export(session, command);
  }

  private removeSession(session: Session): void {
    this.page.sessions?.remove(session);
    if (session.id === this.page.chat?.sessionId) this.newChat();
  }

  private async export(session: Session, format: "markdown" | "json"): Promise<void> {
    await this.attempt(async () => {
      const blob = await this.page.api.export(session.id, format);
      download(blob, filename(session.name, format === "json" ? "json" : "md"));
    });
  }

  private async rename(session: Session | undefined, name: string): Promise<void> {
    this.editing = null;
    if (!session || name === session.name) return;
    await this.attempt(async () => this.page.sessions?.rename(session.id, name));
  }

  private async attempt(action: () => Promise<unknown>): Promise<void> {
    await action().catch(() => (this.notice = t("actionFailed")));
  }

  private openDrawer(): void {
    this.drawer = true;
    void this.updateComplete.then(() => this.side?.focus());
  }

  private closeDrawer(): void {
    this.drawer = false;
    void this.updateComplete.then(() => this.chatView?.focusHeader());
  }

  private search(): void {
    this.drawer = this.narrow;
    void this.updateComplete.then(() => this.side?.search());
  }

  private newChat(): void {
    this.leaveChat();
    void this.updateComplete.then(() => this.chatView?.goOn());
  }

  private leaveChat(): void {
    const { chat } = this.page;
    this.drawer = false;
    if (!chat) return;
    const unused = chat.sessionId !== null && chat.log.messages.length === 0 && chat.reading === "read";
    if (!unused || chat.link.is === "stopped") chat.open("new");
  }

  private open(id: string): void {
    this.drawer = false;
    history.pushState(null, "", new URL(sessionPath(id), this.base));
    this.follow();
  }

  // The address.

  private named(id: string, fresh: boolean): void {
    const address = new URL(sessionPath(id), this.base);
    if (address.pathname === location.pathname) return;
    if (fresh) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    this.route = { view: "chat", sessionId: id };
  }

  private follow(): void {
    this.route = this.readRoute();
    if (this.route.view === "chat" && this.route.sessionId !== this.page.chat?.sessionId) this.page.chat?.open(this.route.sessionId);
  }

  private removed(id: string): void {
    this.page.sessions?.refresh();
    if (id !== this.page.chat?.sessionId) return;
    this.leaveChat();
    void this.updateComplete.then(() => this.chatView?.offerFocus());
  }

  private readRoute(): Route {
    return parseRoute(location.pathname, this.base.pathname);
  }
}
