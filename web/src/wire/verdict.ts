/** What to do after a socket has closed or could not be opened: the one place where close codes and statuses are read. */

export type Verdict =
  | { act: "retry" } // back-off with jitter
  | { act: "now" } // come back and resume at once
  | { act: "wait"; ms: number } // the server said how long
  | { act: "token" } // the token is bad or too old
  | { act: "stop"; reason: "forbidden" | "abuse" | "deleted" };

/** `tooBig` (1009) is a retry: what was too big is dropped by the outbox first. */
export function afterClose(code: number): Verdict {
  switch (code) {
    case 1000:
      return { act: "stop", reason: "deleted" };
    case 1001:
    case 4408:
      return { act: "now" };
    case 1008:
      return { act: "stop", reason: "abuse" };
    case 4401:
      return { act: "token" };
    case 4403:
      return { act: "stop", reason: "forbidden" };
    default:
      return { act: "retry" };
  }
}

/** What `GET sessions?limit=1` answered after a handshake that failed; null when nothing answered. */
export interface Probe {
  status: number;
  /** milliseconds */
  retryAfter?: number;
}

export function afterProbe(probe: Probe | null): Verdict {
  switch (probe?.status) {
    case 401:
      return { act: "token" };
    case 403:
      return { act: "stop", reason: "forbidden" };
    case 429:
    case 503:
      return probe.retryAfter === undefined ? { act: "retry" } : { act: "wait", ms: probe.retryAfter };
    default:
      return { act: "retry" };
  }
}
