import type { Api } from "../api";
import type { Store } from "../storage";
import type { Surroundings } from "../wire/connection";

/** What a chat needs, and whom it tells. */
export interface ChatParts {
  api: Api;
  store: Store;
  userId: string;
  /** a new token is needed; `refused`: the server does not take the present one */
  needToken(refused: boolean): void;
  /** something that is shown has changed; called at most once a frame */
  changed(): void;
  /** the session that the server has named after `open`; `fresh`: a new one was asked for */
  named(sessionId: string, fresh: boolean): void;
  /** the conversation has moved in the list of conversations, or changed its name */
  activity(): void;
  around: Omit<Surroundings, "place" | "waiting" | "probe" | "client">;
  /** run soon, together with others; the page's animation frame */
  soon(run: () => void): void;
}
