import type { History } from "../api";
import type { Frame } from "../wire/frames";

export type HelpState = "none" | "asked" | "told" | "joined";

/** What is true of the session now, as its events say: its name, model and who helps. */
export class Facts {
  name = "";
  modelId: string | null = null;
  help: HelpState = "none";
  staffName: string | null = null;

  /** What the first frame of a socket says. */
  begin(frame: Frame): void {
    this.help = (frame.metadata?.help_state ?? this.help) as HelpState;
    this.modelId = frame.metadata?.model_id ?? this.modelId;
  }

  read(history: History): void {
    for (const { metadata } of history.messages) if (metadata?.event) this.event(metadata);
    this.name = history.name || this.name;
    this.modelId = history.model_id ?? this.modelId;
  }

  take(frame: Frame): void {
    const metadata = frame.metadata ?? {};
    if (frame.type === "admin_join" || frame.type === "admin_leave") this.event({ ...metadata, event: frame.type });
    if (frame.type === "notification") this.event(metadata);
  }

  private event(metadata: Record<string, string>): void {
    switch (metadata.event) {
      case "admin_join":
        this.staffName = metadata.admin_name ?? "";
        this.help = "joined";
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
        this.help = (metadata.state ?? "none") as HelpState;
    }
  }
}
