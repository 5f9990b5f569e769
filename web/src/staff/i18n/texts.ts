import { translator } from "../../i18n/locale";
import { de } from "./de";
import { en, type StaffKey } from "./en";

export type { StaffKey };

/** The texts of the staff's part of the page. */
export const s = translator<StaffKey>({ en, de });
