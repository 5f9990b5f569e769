/** The frames of the wire contract, as far as a user's page speaks them. */

export type Sender = "user" | "ai" | "admin" | "system";

export interface Model {
  id: string;
  name: string;
}

export interface FrameError {
  code: string;
  message: string;
  recoverable?: boolean;
  /** milliseconds */
  retry_after?: number;
}

export interface Frame {
  type: string;
  session_id?: string;
  message_id?: string;
  seq?: number;
  prev?: number;
  epoch?: string;
  content?: string;
  sender?: Sender;
  timestamp?: string;
  model_id?: string;
  file_id?: string;
  file_url?: string;
  models?: Model[];
  user_id?: string;
  metadata?: Record<string, string>;
  error?: FrameError;
}

/** What a text frame says, or null when it is not a frame. */
export function parseFrame(text: unknown): Frame | null {
  if (typeof text !== "string") return null;
  try {
    const value: unknown = JSON.parse(text);
    return isFrame(value) ? value : null;
  } catch {
    return null;
  }
}

function isFrame(value: unknown): value is Frame {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** A random id of 128 bits, safe in a URL. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
