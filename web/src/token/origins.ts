/** Which windows may hand over a token: the server's allowed origins, exactly; the page's own origin; in development
 *  with an empty list, loopback on any port. */
export class Origins {
  constructor(
    private readonly own: string,
    private readonly allowed: readonly string[],
    private readonly development: boolean,
  ) {}

  allows(origin: string): boolean {
    if (origin === "null") return false;
    if (origin === this.own || this.allowed.includes(origin)) return true;
    return this.development && this.allowed.length === 0 && isLoopback(origin);
  }
}

function isLoopback(origin: string): boolean {
  try {
    return ["localhost", "127.0.0.1", "[::1]"].includes(new URL(origin).hostname);
  } catch {
    return false;
  }
}
