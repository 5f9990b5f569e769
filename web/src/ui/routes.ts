/** What an address below the page's base shows. `sessionId` null is the active conversation. */
export type Route =
  | { view: "chat"; sessionId: string | null }
  | { view: "shared"; token: string }
  | { view: "staff"; sessionId: string | null };

export function parseRoute(pathname: string, basePath: string): Route {
  const [head, tail, rest] = pathname.slice(basePath.length).split("/").map(decode);
  if (head === "c" && tail) return { view: "chat", sessionId: tail };
  if (head === "s" && tail) return { view: "shared", token: tail };
  if (head === "staff") return { view: "staff", sessionId: tail === "c" && rest ? rest : null };
  return { view: "chat", sessionId: null };
}

/** The address of a conversation, relative to the base. */
export function sessionPath(id: string): string {
  return `c/${encodeURIComponent(id)}`;
}

export function sharedPath(token: string): string {
  return `s/${encodeURIComponent(token)}`;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
