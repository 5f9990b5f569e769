/** How long something has lasted, as `4:05` or `1:02:03`; empty for what is no time. */
export function lasting(since: string | null | undefined, now = Date.now()): string {
  const past = now - Date.parse(since ?? "");
  return Number.isNaN(past) ? "" : timer(Math.max(0, past) / 1000);
}

/** Seconds as `4:05` or `1:02:03`. */
export function timer(seconds: number): string {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
