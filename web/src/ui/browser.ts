/** Hand a file to the browser's downloads. */
export function download(blob: Blob, filename: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = filename;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A conversation's name as a file's: letters and digits of any script. */
export function filename(name: string, extension: string): string {
  const stem = name.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-+|-+$/g, "");
  return `${stem.slice(0, 60) || "conversation"}.${extension}`;
}

/** False where the browser does not allow it. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Before the next frame is painted; soon all the same in a page that is not painted. */
export function soon(run: () => void): void {
  if (document.hidden) setTimeout(run, 50);
  else requestAnimationFrame(run);
}

/** Whether a field that is focused brings a keyboard up on the screen, over what is read. */
export function keyboardComesUp(page: Window): boolean {
  return page.matchMedia("(pointer: coarse)").matches;
}

/** Whether the keyboard may be given to a field that nobody chose. A frame leaves it to the page around it. */
export function keyboardIsFree(page: Window): boolean {
  const { activeElement, body } = page.document;
  const ours = page.parent === page || page.document.hasFocus();
  return ours && !keyboardComesUp(page) && (activeElement === null || activeElement === body);
}
