import type { History } from "../api";
import type { Frame } from "../wire/frames";

export type HelpState = "none" | "asked" | "told" | "joined";

/** What is true of the session now: its name, its model, who has it, and whether a person was asked for. The first frame
 *  of a socket says most of it; later events of the log change it, however they come. */
export class Facts {
  name = "";
  modelId: string | null = null;
  help: HelpState = "none";
  /** who has the conversation; null: the assistant */
  staffName: string | null = null;
  /** where an answer can be sent when nobody comes */
  email: string | null = null;
  /** everything up to this position is known */
  private at = 0;

  /** What the first frame of a socket says. Where it resumes, what was missed comes next, and says how it came to that. */
  begin({ seq, metadata = {} }: Frame): void {
    this.modelId = metadata.model_id ?? this.modelId;
    if (metadata.resumed === "true") return;
    this.at = seq ?? 0;
    this.help = (metadata.help_state ?? this.help) as HelpState;
    this.staffName = metadata.admin_id === undefined ? null : (metadata.admin_name ?? "");
    this.email = metadata.help_email ?? this.email;
  }

  /** A page of history: it may end before what is known already, or after. */
  read(history: History): void {
    for (const { seq, sender, metadata } of history.messages) if (sender !== "user" && metadata) this.event(metadata, seq);
    const newest = history.seq >= this.at;
    this.name = (newest && history.name) || this.name || history.name;
    this.modelId = newest ? (history.model_id ?? this.modelId) : (this.modelId ?? history.model_id ?? null);
  }

  /** A frame of the log, which has got to `position`. */
  take(frame: Frame, position: number): void {
    const metadata = frame.metadata ?? {};
    if (frame.type === "admin_join" || frame.type === "admin_leave") this.event({ ...metadata, event: frame.type }, position);
    if (frame.type === "notification") this.event(metadata, position);
    this.at = Math.max(this.at, position);
  }

  private event(metadata: Record<string, string>, seq: number): void {
    if (seq < this.at) return;
    switch (metadata.event) {
      case "admin_join":
        this.staffName = metadata.admin_name ?? "";
        if (this.help !== "none") this.help = "joined";
        return;
      case "admin_leave":
        this.staffName = null;
        this.help = "none";
        return;
      case "session_renamed":
        this.name = metadata.name ?? this.name;
        return;
      case "model_changed":
        this.modelId = metadata.model_id ?? this.modelId;
        return;
      case "help_state":
        this.email = metadata.email ?? this.email;
        if (this.staffName === null) this.help = after(this.help, metadata);
    }
  }
}

/** To ask is news only once, that staff were told only after that. Of opening hours one is told without asking. */
function after(help: HelpState, { state = "none", open }: Record<string, string>): HelpState {
  if (state === "asked") return help === "none" && open === undefined ? state : help;
  if (state === "told") return help === "asked" ? state : help;
  return state as HelpState;
}
