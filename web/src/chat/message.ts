import type { StoredMessage } from "../api";
import type { Frame, Sender } from "../wire/frames";

/** `sending`: not acknowledged yet. `failed`: refused, see `problem`. `streaming`: an answer that still grows. */
export type MessageState = "sending" | "failed" | "streaming" | "done";

export interface Message {
  readonly id: string;
  /** null until the log has given a position */
  seq: number | null;
  sender: Sender;
  /** `event`: a line about the conversation, named by `metadata.event` */
  kind: "text" | "file" | "voice" | "event";
  content: string;
  /** rises when `content` is replaced instead of lengthened */
  generation: number;
  /** rises with every change */
  revision: number;
  timestamp: string;
  state: MessageState;
  problem: string | null;
  replaces: string | null;
  superseded: boolean;
  fileUrl: string | null;
  metadata: Record<string, string>;
}

export function fromStored(stored: StoredMessage): Message {
  return message(stored.message_id, {
    seq: stored.seq,
    sender: stored.sender,
    kind: kindOf(stored),
    content: stored.content ?? "",
    timestamp: stored.timestamp,
    replaces: stored.metadata?.replaces ?? null,
    superseded: stored.metadata?.superseded === "true",
    fileUrl: stored.file_url ?? null,
    metadata: stored.metadata ?? {},
  });
}

/** A frame that is a whole message of the log, which has got to `position`. Lines about the conversation get their
 *  frame's type as event. */
export function fromFrame(frame: Frame, position: number): Message {
  const event = frame.metadata?.event ?? (frame.type.startsWith("admin_") ? frame.type : undefined);
  return fromStored({
    message_id: frame.message_id ?? "",
    seq: frame.seq ?? position,
    content: frame.content ?? "",
    timestamp: frame.timestamp ?? new Date().toISOString(),
    sender: event ? "system" : (frame.sender ?? (frame.type === "ai_response" ? "ai" : "user")),
    ...(frame.file_id && { file_id: frame.file_id }),
    ...(frame.file_url && { file_url: frame.file_url }),
    metadata: { ...frame.metadata, ...(event && { event }), ...(frame.type === "voice_message" && { voice: "true" }) },
  });
}

export function unsent(id: string, content: string, timestamp: string): Message {
  return message(id, { sender: "user", content, timestamp, state: "sending" });
}

export function answer(id: string, replaces: string | null, timestamp: string): Message {
  return message(id, { sender: "ai", state: "streaming", replaces, timestamp });
}

function message(id: string, known: Partial<Message>): Message {
  return {
    id,
    seq: null,
    sender: "user",
    kind: "text",
    content: "",
    generation: 0,
    revision: 0,
    timestamp: "",
    state: "done",
    problem: null,
    replaces: null,
    superseded: false,
    fileUrl: null,
    metadata: {},
    ...known,
  };
}

function kindOf(stored: StoredMessage): Message["kind"] {
  if (stored.sender === "system") return "event";
  if (stored.metadata?.voice === "true") return "voice";
  return stored.file_id || stored.file_url ? "file" : "text";
}
