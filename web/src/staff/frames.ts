import type { StoredMessage } from "../api";
import type { Frame } from "../wire/frames";

/** What the staff socket's frames carry beside the chat's. */
export interface StaffFrame extends Frame {
  messages?: StoredMessage[];
  /** pages back in the history; null at the start */
  before?: number | string | null;
  sessions?: StaffSession[];
  total?: number;
  session?: StaffSession;
  staff?: Colleague[];
  last_seq?: number;
  figures?: Figures;
  series?: Bucket[];
}

/** A member of staff. */
export interface Colleague {
  id: string;
  name: string;
}

/** A session as staff see it. Times are RFC 3339, `duration` is in s, response times in ms. */
export interface StaffSession {
  id: string;
  user_id: string;
  user_name: string;
  name: string;
  model_id?: string | null;
  start_time: string;
  end_time?: string | null;
  last_activity: string;
  is_active: boolean;
  duration: number;
  message_count: number;
  total_tokens: number;
  avg_response_time: number;
  max_response_time: number;
  help_requested: boolean;
  help_state: string;
  help_since?: string | null;
  admin_assisted: boolean;
  assisting_admin_id?: string | null;
  assisting_admin_name?: string | null;
  assisted_since?: string | null;
  /** a socket of the user is open */
  online?: boolean;
  /** what the host page says about the customer */
  context?: Record<string, string>;
}

/** The numbers of a period; response times in ms. */
export interface Figures {
  total_sessions: number;
  active_sessions: number;
  avg_concurrent: number;
  max_concurrent: number;
  total_tokens: number;
  avg_response_time: number;
  max_response_time: number;
  admin_assisted_count: number;
  messages: number;
  answers: number;
  errors: number;
  avg_first_token: number;
  max_first_token: number;
  time_range: { start: string; end: string };
}

/** The numbers of one step of a period. */
export interface Bucket {
  start: string;
  sessions: number;
  max_concurrent: number;
  messages: number;
  answers: number;
  errors: number;
  tokens: number;
  avg_response_time: number;
  max_response_time: number;
  avg_first_token: number;
  max_first_token: number;
}
