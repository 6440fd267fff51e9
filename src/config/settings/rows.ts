/** What the rows of the tables of settings share: how one is written, which commands take it, readers. */
import type { ListSetting, StructureSetting, SwitchSetting, ValueSetting } from "../setting.ts";
import { matching, text } from "../value.ts";

type Row<S> = Omit<S, "kind">;

export function one<T>(
  row: Omit<Row<ValueSetting<T, undefined>>, "fallback">,
): ValueSetting<T, undefined>;
export function one<T, D extends T>(row: Row<ValueSetting<T, D>>): ValueSetting<T, T>;
export function one<T>(
  row: Omit<Row<ValueSetting<T, T>>, "fallback"> & { fallback?: T },
): ValueSetting<T, T | undefined> {
  return { fallback: undefined, ...row, kind: "value" };
}

export const many = <T>(row: Row<ListSetting<T>>): ListSetting<T> => ({ ...row, kind: "list" });
export const structure = <T>(row: Row<StructureSetting<T>>): StructureSetting<T> => ({
  ...row,
  kind: "structure",
});
export const onOff = (row: Row<SwitchSetting>): SwitchSetting => ({ ...row, kind: "switch" });

export const NODES = ["all", "serve", "work"] as const;
export const FRONTS = ["all", "serve"] as const;
export const WORKERS = ["all", "work"] as const;
export const LISTS = ["tasks", "nodes", "queues"] as const;
export const CALLERS = ["call", "publish", "subscribe", "devices", ...LISTS] as const;
/** Commands that only a front can answer, which keeps the records. */
const RECORDS = ["job", "dead-letters", "schedules"] as const;
/** Commands that ask a front alone. */
const FRONT_ASKERS = [...RECORDS, "bench"] as const;
export const ASKERS = [...CALLERS, ...FRONT_ASKERS] as const;
export const BROKER = [...NODES, ...CALLERS] as const;
export const EVERYWHERE = [...NODES, ...ASKERS] as const;

export const host = matching(
  "HOST",
  /^(?:[^\s\p{Cc}/@?#[\]]+|\[[0-9a-f:.]+\])$/iu,
  "a host name or an address",
);
export const file = text("FILE", "the path of a file");
/** Visible ASCII, for it travels in a header (RFC 9110, section 11.6.2). */
export const token = matching(
  "TOKEN",
  /^[\x21-\x7e]+$/,
  "a token that is not blank, of visible ASCII characters without spaces",
);

export const DAY_MS = 86_400_000;
export const MAX_KEPT_MS = 36_500 * DAY_MS;
