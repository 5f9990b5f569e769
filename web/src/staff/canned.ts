import { newId } from "../wire/frames";
import type { StaffApi } from "./api";
import { Live, type LiveState } from "./live";

/** A text that staff keep to say again; all of them share it. */
export interface Reply {
  id: string;
  title: string;
  text: string;
}

/** What becomes the user's name. */
export const NAME = "{name}";

/** The replies that all staff share, read when they are first wanted. */
export class Canned {
  private readonly replies: Live<null, Reply[]>;
  private wanted = false;

  constructor(
    private readonly api: StaffApi,
    changed: () => void,
  ) {
    this.replies = new Live(null, () => api.canned(), changed, 0);
  }

  get state(): LiveState {
    return this.replies.state;
  }

  get problem(): string | null {
    return this.replies.problem;
  }

  get all(): Reply[] {
    return this.replies.value ?? [];
  }

  /** Somebody is going to look at them. */
  want(): void {
    if (this.wanted && this.state !== "failed") return;
    this.wanted = true;
    void this.replies.read();
  }

  /** Those with all of some words in title or text. */
  find(words: string): Reply[] {
    const wanted = words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    return this.all.filter(({ title, text }) => wanted.every((word) => `${title}\n${text}`.toLocaleLowerCase().includes(word)));
  }

  /** A reply as it is said to somebody. */
  filled({ text }: Reply, userName: string): string {
    return text.replaceAll(NAME, () => userName);
  }

  async save(id: string | null, title: string, text: string): Promise<void> {
    await this.api.saveCanned(id ?? newId(), title, text);
    await this.replies.read();
  }

  async remove(id: string): Promise<void> {
    await this.api.removeCanned(id);
    await this.replies.read();
  }
}
