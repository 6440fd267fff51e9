/** A URL's query as names and values, each at most once. */
import { bad, type Read } from "./body.ts";
import { shortened } from "./problems.ts";

const NONE: ReadonlyMap<string, string> = new Map();

/**
 * @param known names that may be given; absent: whoever reads them looks at that.
 * @param lists names that may be given again, with or without commas in their values.
 */
export function readQuery(
  url: string,
  known?: readonly string[],
  lists: readonly string[] = [],
): Read<ReadonlyMap<string, string>> {
  const start = url.indexOf("?");
  if (start === -1 || start === url.length - 1) return { value: NONE };
  const given = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    if (known !== undefined && !known.includes(name)) {
      const there = known.length === 0 ? "there is none here" : `there are ${known.join(", ")}`;
      return { problem: bad(`Unknown option "${shortened(name)}": ${there}`) };
    }
    const before = given.get(name);
    if (before !== undefined && !lists.includes(name)) {
      return { problem: bad(`Option "${shortened(name)}" is given twice`) };
    }
    given.set(name, before === undefined ? value : `${before},${value}`);
  }
  return { value: given };
}
