import type { Sender } from "./wire/frames";
import type { Probe } from "./wire/verdict";

export interface PageSettings {
  mode: "production" | "development";
  demo_model: boolean;
  allowed_origins: string[];
  version: string;
  prefix: string;
}

export interface Session {
  id: string;
  name: string;
  model_id?: string | null;
  start_time: string;
  last_activity: string;
  is_active: boolean;
  message_count: number;
  help_state: string;
  admin_assisted: boolean;
  share_token?: string | null;
}

export interface SessionPage {
  sessions: Session[];
  next_cursor: string | null;
}

export interface StoredMessage {
  message_id: string;
  seq: number;
  content: string;
  timestamp: string;
  sender: Sender;
  file_id?: string;
  file_url?: string;
  model_id?: string;
  metadata?: Record<string, string>;
}

export interface History {
  session_id: string;
  name: string;
  model_id?: string | null;
  messages: StoredMessage[];
  epoch: string;
  seq: number;
  before: number | string | null;
}

export interface SharedConversation {
  session_id: string;
  name: string;
  messages: StoredMessage[];
}

/** A request that failed. `status` 0: nothing answered. `retryAfter` is in ms. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

/** How long an answer may take in all, ms: on a dead line it would never come. */
const PATIENCE = 20_000;
const PATIENCE_WITH_PROBES = 5_000;
export const PATIENCE_WITH_FILES = 120_000;

export type ExportFormat = "json" | "markdown";

/** The HTTP side of the wire contract. `base` ends in a slash. Every call rejects with `ApiError`. */
export class Api {
  constructor(
    readonly base: string,
    private readonly token: () => string | null,
  ) {}

  page(): Promise<PageSettings> {
    return this.json("page.json");
  }

  sessions(query: { q?: string; cursor?: string | null; limit?: number } = {}): Promise<SessionPage> {
    const params = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) if (value) params.set(key, String(value));
    return this.json(`sessions?${params}`);
  }

  history(id: string, before?: number | string): Promise<History> {
    return this.json(`${session(id)}${before === undefined ? "" : `?before=${encodeURIComponent(before)}`}`);
  }

  rename(id: string, name: string): Promise<Session> {
    return this.json(session(id), { method: "PATCH", body: JSON.stringify({ name }) });
  }

  /** Survives the page that asks for it. */
  async remove(id: string): Promise<void> {
    await this.call(session(id), done, { method: "DELETE", keepalive: true });
  }

  async share(id: string): Promise<string> {
    return (await this.json<{ share_token: string }>(`${session(id)}/share`, { method: "POST" })).share_token;
  }

  async unshare(id: string): Promise<void> {
    await this.call(`${session(id)}/share`, done, { method: "DELETE" });
  }

  export(id: string, format: ExportFormat): Promise<Blob> {
    return this.call(`${session(id)}/export?format=${format}`, (answer) => answer.blob(), {}, PATIENCE_WITH_FILES);
  }

  shared(token: string): Promise<SharedConversation> {
    return this.json(`shared/${encodeURIComponent(token)}`);
  }

  /** Why a handshake may have failed: a browser can't see its status. */
  async probe(): Promise<Probe | null> {
    try {
      await this.json("sessions?limit=1", {}, PATIENCE_WITH_PROBES);
      return { status: 200 };
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0) return null;
      return { status: error.status, ...(error.retryAfter !== undefined && { retryAfter: error.retryAfter }) };
    }
  }

  protected json<T>(path: string, init?: RequestInit, patience?: number): Promise<T> {
    return this.call(path, (answer) => answer.json() as Promise<T>, init, patience);
  }

  protected async call<T>(path: string, read: (answer: Response) => Promise<T>, init: RequestInit = {}, patience = PATIENCE): Promise<T> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), patience);
    const options: RequestInit = { ...init, headers: this.headers(init), credentials: "same-origin", signal: limit.signal };
    try {
      const answer = await fetch(this.base + path, options);
      if (!answer.ok) throw await refusal(answer);
      return await read(answer);
    } catch (error) {
      throw error instanceof ApiError ? error : new ApiError(0, "UNREACHABLE", "no answer");
    } finally {
      clearTimeout(timer);
    }
  }

  private headers(init: RequestInit): Headers {
    const headers = new Headers(init.headers);
    const token = this.token();
    if (token !== null) headers.set("Authorization", `Bearer ${token}`);
    if (init.body !== undefined) headers.set("Content-Type", "application/json");
    return headers;
  }
}

async function done(): Promise<void> {}

function session(id: string): string {
  return `sessions/${encodeURIComponent(id)}`;
}

async function refusal(answer: Response): Promise<ApiError> {
  const body = (await answer.json().catch(() => ({}))) as { error?: string; code?: string };
  const seconds = Number(answer.headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds * 1000 : undefined;
  return new ApiError(answer.status, body.code ?? "SERVICE_ERROR", body.error ?? answer.statusText, retryAfter);
}
