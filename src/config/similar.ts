/** "Did you mean": the name that is nearest to one that does not exist. */
import { findSimilar } from "@optique/core/suggestion";

/** `; did you mean "port"?`, or nothing where no name is near. */
export function didYouMean(given: string, names: Iterable<string>, prefix = ""): string {
  const strip = (name: string) => name.slice(prefix.length);
  const [nearest] = findSimilar(strip(given), [...names].map(strip), { maxSuggestions: 1 });
  return nearest === undefined ? "" : `; did you mean "${prefix}${nearest}"?`;
}
