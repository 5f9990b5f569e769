/** What the page reads from a token. It is only a hint: the server alone judges tokens. */
export interface Claims {
  userId: string;
  name: string;
  roles: string[];
  /** Unix ms; null when the token does not say */
  expires: number | null;
}

export function readClaims(token: string): Claims | null {
  try {
    const body = token.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(body.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? fromObject(claims as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function fromObject(claims: Record<string, unknown>): Claims | null {
  const id = claims.user_id ?? claims.sub;
  if (typeof id !== "string" || id === "") return null;
  return {
    userId: id,
    name: typeof claims.name === "string" ? claims.name : id,
    roles: Array.isArray(claims.roles) ? claims.roles.filter((role) => typeof role === "string") : [],
    expires: typeof claims.exp === "number" ? claims.exp * 1000 : null,
  };
}
