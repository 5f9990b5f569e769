import type { Conversation } from "./conversation";

/** In which conversations the user has said something that the reader has not looked at. */
export class Unread {
  readonly ids = new Set<string>();
  private readonly seen = new Map<string, number>();

  /** Look at all open conversations; those that are `shown` are read. */
  follow(conversations: Iterable<Conversation>, shown: (id: string) => boolean): void {
    this.ids.clear();
    for (const { id, log, reading } of conversations) {
      if (reading !== "read") continue;
      const newest = log.messages.findLast(({ sender, kind }) => sender === "user" && kind !== "event")?.seq ?? 0;
      if (shown(id) || !this.seen.has(id)) this.seen.set(id, newest);
      else if (newest > this.seen.get(id)!) this.ids.add(id);
    }
  }
}
