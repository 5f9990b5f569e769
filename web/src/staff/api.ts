import { Api, ApiError, PATIENCE_WITH_FILES } from "../api";
import type { Probe } from "../wire/verdict";
import type { Reply } from "./canned";
import { Refused } from "./requests";

/** A part of a list, newest first, and where it goes on; null at its end. */
export interface Page<T> {
  items: T[];
  next: string | null;
}

/** A member of staff had a session. Times are RFC 3339; no `end`: they still have it. */
export interface Takeover {
  session_id: string;
  user_id: string;
  admin_id: string;
  admin_name: string;
  start: string;
  end?: string | null;
  messages: number;
}

/** Something that a member of staff did; `refused` is the code with which it was refused. */
export interface Act {
  id: string;
  time: string;
  admin_id: string;
  admin_name: string;
  action: string;
  session_id: string;
  user_id: string;
  detail: Record<string, string>;
  refused: string;
}

/** An alert that is on its way, or that could not be delivered. */
export interface Alert {
  id: string;
  event: string;
  state: string;
  time: string;
  attempts: number;
  error: string;
  session_id: string;
  /** by channel and address, why it was not delivered there */
  refused: Record<string, Record<string, string>>;
}

/** The staff's routes of the wire contract. Every call rejects with `Refused`. */
export class StaffApi extends Api {
  async canned(): Promise<Reply[]> {
    return (await this.ask<{ replies: Reply[] }>("canned")).replies;
  }

  async saveCanned(id: string, title: string, text: string): Promise<void> {
    await this.done(`canned/${encodeURIComponent(id)}`, { method: "PUT", body: JSON.stringify({ title, text }) });
  }

  async removeCanned(id: string): Promise<void> {
    await this.done(`canned/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  async takeovers(cursor: string | null): Promise<Page<Takeover>> {
    const { takeovers, next_cursor } = await this.ask<{ takeovers: Takeover[]; next_cursor: string | null }>(`takeovers${from(cursor)}`);
    return { items: takeovers, next: next_cursor };
  }

  /** The sessions that a member of staff has now. */
  async heldBy(adminId: string): Promise<string[]> {
    const { takeovers } = await this.ask<{ takeovers: Takeover[] }>(`takeovers?admin_id=${encodeURIComponent(adminId)}`);
    return takeovers.filter(({ end }) => !end).map(({ session_id }) => session_id);
  }

  async audit(cursor: string | null): Promise<Page<Act>> {
    const { entries, next_cursor } = await this.ask<{ entries: Act[]; next_cursor: string | null }>(`audit${from(cursor)}`);
    return { items: entries, next: next_cursor };
  }

  /** The whole log as JSON lines. */
  exportAudit(): Promise<Blob> {
    return this.asking(() => this.call("admin/audit/export", (answer) => answer.blob(), {}, PATIENCE_WITH_FILES));
  }

  async alerts(cursor: string | null): Promise<Page<Alert>> {
    const { alerts, next_cursor } = await this.ask<{ alerts: Alert[]; next_cursor: string | null }>(`alerts${from(cursor)}`);
    return { items: alerts, next: next_cursor };
  }

  async retryAlert(id: string): Promise<void> {
    await this.done(`alerts/${encodeURIComponent(id)}/retry`, { method: "POST" });
  }

  async block(user_id: string, reason: string): Promise<void> {
    await this.done("blocks", { method: "POST", body: JSON.stringify({ user_id, reason }) });
  }

  /** Why a handshake may have failed: a browser can't see its status. */
  override async probe(): Promise<Probe | null> {
    const problem = await this.json("admin/sessions?limit=1").then(() => null, (failure: unknown) => failure);
    if (problem === null) return { status: 200 };
    if (!(problem instanceof ApiError) || problem.status === 0) return null;
    return { status: problem.status, ...(problem.retryAfter !== undefined && { retryAfter: problem.retryAfter }) };
  }

  private ask<T>(path: string): Promise<T> {
    return this.asking(() => this.json<T>(`admin/${path}`));
  }

  private done(path: string, init: RequestInit): Promise<void> {
    return this.asking(() => this.call(`admin/${path}`, async () => undefined, init));
  }

  private async asking<T>(ask: () => Promise<T>): Promise<T> {
    return ask().catch((problem: unknown) => {
      throw problem instanceof ApiError ? new Refused(codeOf(problem), problem.retryAfter) : problem;
    });
  }
}

function from(cursor: string | null): string {
  return cursor === null ? "" : `?cursor=${encodeURIComponent(cursor)}`;
}

function codeOf({ status, code }: ApiError): string {
  return status === 429 ? "TOO_MANY_REQUESTS" : code;
}
