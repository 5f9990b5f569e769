import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Localized } from "../../i18n/locale";
import { icon } from "../../ui/icons";
import { base } from "../../ui/styles";
import { s, type StaffKey } from "../i18n/texts";
import { EVERYTHING, filterCount, LIMITS, SORTS, type ListQuery, type Sort } from "../list-query";
import { staffStyles } from "./staff-styles";

const SORT_NAMES: Record<Sort, StaffKey> = {
  last_activity: "sortActivity",
  start_time: "sortStart",
  end_time: "sortEnd",
  duration: "sortDuration",
  message_count: "sortMessages",
  total_tokens: "sortTokens",
  user_id: "sortUser",
};

/** Which sessions the list shows, and in which order. Tells `query` with what is asked. */
@customElement("chatbox-list-filters")
export class ListFilters extends LitElement {
  static override styles = [
    base,
    staffStyles,
    css`
      :host {
        display: block;
        padding: 0 0.75rem 0.5rem;
      }
      .line {
        display: flex;
        gap: 0.4rem;
      }
      .line select {
        flex: 1;
        min-width: 0;
        height: 2.1rem;
        font-size: 0.84rem;
      }
      .line .button {
        min-height: 2.1rem;
        padding: 0 0.6rem;
      }
      .grid {
        display: grid;
        grid-template-columns: 1fr 1fr;
        gap: 0.55rem;
        padding: 0.7rem 0.1rem 0.3rem;
      }
      .wide {
        grid-column: 1 / -1;
      }
      .asc svg {
        transform: rotate(180deg);
      }
      @media (max-width: 760px) {
        .line select,
        .line .button {
          height: 2.6rem;
          font-size: 16px;
        }
      }
    `,
  ];

  @property({ attribute: false }) asked!: ListQuery;
  @state() private opened = false;
  @query(".user") private readonly user!: HTMLInputElement | null;

  constructor() {
    super();
    new Localized(this);
  }

  /** Open the filters at the user's id. */
  override focus(): void {
    this.opened = true;
    void this.updateComplete.then(() => this.user?.focus());
  }

  protected override render(): TemplateResult {
    const { sort_by, sort_order } = this.asked;
    const count = filterCount(this.asked);
    const order = sort_order === "desc" ? s("descending") : s("ascending");
    return html`<div class="line">
        <select aria-label=${s("sortBy")} @change=${this.change("sort_by")}>
          ${SORTS.map((name) => html`<option value=${name} ?selected=${name === sort_by}>${s(SORT_NAMES[name])}</option>`)}
        </select>
        <button class="button ${sort_order}" aria-label=${order} title=${order} @click=${() => this.ask({ sort_order: sort_order === "desc" ? "asc" : "desc" })}>
          ${icon("down")}
        </button>
        <button class="button" aria-expanded=${this.opened} @click=${() => (this.opened = !this.opened)}>
          ${icon("filter")} ${count > 0 ? s("filtersCount", { count }) : s("filters")}
        </button>
      </div>
      ${this.opened ? this.renderFilters(count) : nothing}`;
  }

  private renderFilters(count: number): TemplateResult {
    const { asked } = this;
    const choice = (field: "status" | "admin_assisted" | "help_requested", label: StaffKey, options: [string, StaffKey][]): TemplateResult =>
      html`<label class="field"
        >${s(label)}
        <select @change=${this.change(field)}>
          <option value="" ?selected=${asked[field] === ""}>${s("any")}</option>
          ${options.map(([value, name]) => html`<option value=${value} ?selected=${asked[field] === value}>${s(name)}</option>`)}
        </select>
      </label>`;
    return html`<div class="grid">
      <label class="field wide">${s("userId")}<input class="user" type="search" maxlength="128" .value=${asked.user_id} @change=${this.change("user_id")} /></label>
      ${choice("status", "status", [["active", "active"], ["ended", "ended"]])}
      ${choice("help_requested", "helpAsked", [["true", "yes"], ["false", "no"]])}
      ${choice("admin_assisted", "assisted", [["true", "yes"], ["false", "no"]])}
      <label class="field"
        >${s("perPage")}
        <select @change=${this.change("limit")}>
          ${LIMITS.map((limit) => html`<option value=${limit} ?selected=${limit === asked.limit}>${limit}</option>`)}
        </select>
      </label>
      <label class="field">${s("startedFrom")}<input type="date" .value=${asked.from} @change=${this.change("from")} /></label>
      <label class="field">${s("startedTo")}<input type="date" .value=${asked.to} @change=${this.change("to")} /></label>
      ${count > 0
        ? html`<button class="button small wide" @click=${() => this.ask({ ...EVERYTHING, sort_by: asked.sort_by, sort_order: asked.sort_order })}>
            ${s("clearFilters")}
          </button>`
        : nothing}
    </div>`;
  }

  private change(field: keyof ListQuery): (event: Event) => void {
    return (event) => {
      const { value } = event.target as HTMLInputElement;
      this.ask({ [field]: field === "limit" ? Number(value) : value.trim() });
    };
  }

  private ask(change: Partial<ListQuery>): void {
    this.dispatchEvent(new CustomEvent("query", { detail: { ...this.asked, ...change, offset: 0 } }));
  }
}
