import { s } from "../i18n/texts";
import type { Choice } from "./question";

/** What is asked before something is done. */
export interface Asking {
  heading: string;
  text: string;
  /** what a field for a few words is called; none without it */
  reason?: string;
  choices: Choice[];
}

/** A conversation that one still has is about to be closed. */
export function closingHeld(close: () => void, handBack: () => void): Asking {
  const both = (): void => {
    handBack();
    close();
  };
  return {
    heading: s("closeHeldTitle"),
    text: s("closeHeldText"),
    choices: [
      { label: s("closeOnly"), act: close },
      { label: s("handBackAndClose"), kind: "primary", act: both },
    ],
  };
}

/** A prepared reply is about to be removed. */
export function removing(name: string, remove: () => void): Asking {
  return { heading: s("removeTitle", { name }), text: s("removeText"), choices: [{ label: s("remove"), kind: "danger", act: remove }] };
}

/** A user is about to be kept out. */
export function blocking(name: string, block: (reason: string) => void): Asking {
  return {
    heading: s("blockTitle", { name }),
    text: s("blockText"),
    reason: s("blockReason"),
    choices: [{ label: s("blockUser"), kind: "danger", act: block }],
  };
}
