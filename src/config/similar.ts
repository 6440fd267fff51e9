/** "Did you mean": names that are near to one that does not exist. */
import { findSimilar } from "@optique/core/suggestion";

/** `; did you mean "port"?`, or nothing where no name is near. */
export function didYouMean(given: string, names: Iterable<string>): string {
  const [first, second] = findSimilar(given, [...names], { maxDistance: 4, maxDistanceRatio: 0.4 });
  if (first === undefined) return "";
  return second === undefined
    ? `; did you mean "${first}"?`
    : `; did you mean "${first}" or "${second}"?`;
}
