import type { StoredMessage } from "../api";
import type { Frame, Sender } from "../wire/frames";

/** `sending`: not acknowledged yet. `failed`: refused, see `problem`. `streaming`: an answer that still grows. */
export type MessageState = "sending" | "failed" | "streaming" | "done";

export interface Message {
  readonly id: string;
  /** null until the log has given a position */
  seq: number | null;
  sender: Sender;
  /** `event`: a line about the conversation, named by `metadata.event`; `note`: staff among themselves */
  kind: "text" | "file" | "voice" | "event" | "note";
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

const NOTE = "note";
/** Frames whose type is their event. */
const NAMED_BY_TYPE = new Set(["admin_join", "admin_leave", NOTE]);
const SENDERS: Record<string, Sender> = { user_message: "user", file_upload: "user", voice_message: "user", ai_response: "ai" };

export function fromStored(stored: StoredMessage): Message {
  const kind = kindOf(stored);
  return message(stored.message_id, {
    seq: stored.seq,
    sender: kind === "event" ? "system" : stored.sender,
    kind,
    content: stored.content ?? "",
    timestamp: stored.timestamp,
    replaces: stored.metadata?.replaces ?? null,
    superseded: stored.metadata?.superseded === "true",
    fileUrl: stored.file_url ?? null,
    metadata: stored.metadata ?? {},
  });
}

/** A frame that is a whole message of the log, which has got to `position`. */
export function fromFrame(frame: Frame, position: number): Message {
  const event = NAMED_BY_TYPE.has(frame.type) ? frame.type : frame.metadata?.event;
  return fromStored({
    message_id: frame.message_id ?? "",
    seq: frame.seq ?? position,
    content: frame.content ?? "",
    timestamp: frame.timestamp ?? new Date().toISOString(),
    sender: frame.sender ?? SENDERS[frame.type] ?? "system",
    ...(frame.file_id && { file_id: frame.file_id }),
    ...(frame.file_url && { file_url: frame.file_url }),
    metadata: { ...frame.metadata, ...(event && { event }), ...(frame.type === "voice_message" && { voice: "true" }) },
  });
}

/** A message that the server has not acknowledged; `known` says what it is if not a user's words. */
export function unsent(id: string, content: string, timestamp: string, known: Partial<Message> = {}): Message {
  return message(id, { sender: "user", content, timestamp, state: "sending", ...known });
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

/** Users may send any metadata: what they say is no event. */
function kindOf(stored: StoredMessage): Message["kind"] {
  const event = stored.sender === "user" ? undefined : stored.metadata?.event;
  if (event === NOTE) return "note";
  if (event !== undefined || stored.sender === "system") return "event";
  if (stored.metadata?.voice === "true") return "voice";
  return stored.file_id || stored.file_url ? "file" : "text";
}
