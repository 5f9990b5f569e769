import type { StaffFrame, StaffSession } from "./frames";

/** Who waits for a person, longest first, and who has just come. */
export class Queue {
  sessions: StaffSession[] = [];
  total = 0;
  private known = new Map<string, string>();

  /** The whole queue as it is now; gives those who were not in it before, or ask again. */
  take({ sessions = [], total }: StaffFrame): StaffSession[] {
    const fresh = sessions.filter(({ id, help_since }) => this.known.get(id) !== (help_since ?? ""));
    this.sessions = sessions;
    this.total = total ?? sessions.length;
    this.known = new Map(sessions.map(({ id, help_since }) => [id, help_since ?? ""]));
    return fresh;
  }

  /** News of one session, which may be in the queue. */
  know(session: StaffSession): void {
    this.sessions = this.sessions.map((waiting) => (waiting.id === session.id ? { ...waiting, ...session } : waiting));
  }
}
