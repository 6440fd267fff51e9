/** Names of channels, and the patterns that subscribers give: AMQP's topics, checked once. */
import { problemOfName } from "../reserved_names.ts";

/**
 * Why nothing can be published on a channel of this name, or undefined. Words are parted by dots; the
 * wildcards of patterns are no part of a name.
 */
export function problemOfChannel(name: unknown): string | undefined {
  const problem = problemOfName(name);
  if (problem !== undefined || typeof name !== "string") return problem;
  return name.split(".").some((word) => word === "*" || word === "#")
    ? 'must not have "*" or "#" as a word: these are for subscribers'
    : undefined;
}

/** Why nobody can subscribe to this pattern, or undefined. */
export function problemOfPattern(pattern: unknown): string | undefined {
  return problemOfName(pattern);
}

/**
 * Makes the test of a pattern: `*` stands for exactly one word, `#` for none or more (AMQP 0-9-1,
 * section 3.1.3.3).
 */
export function channelMatcher(pattern: string): (channel: string) => boolean {
  const words = wordsOf(pattern);
  if (!words.some((word) => word === "*" || word === "#")) return (channel) => channel === pattern;
  if (pattern === "#") return () => true;
  return (channel) => matches(words, wordsOf(channel));
}

/** The empty name, which strangers may use, has no words. */
function wordsOf(channel: string): string[] {
  return channel === "" ? [] : channel.split(".");
}

/** Which prefixes of the channel the pattern so far covers: one pass, whatever the number of `#`. */
function matches(pattern: readonly string[], channel: readonly string[]): boolean {
  let covered: boolean[] = [true, ...channel.map(() => false)];
  for (const word of pattern) {
    const next: boolean[] = [word === "#" && covered[0] === true];
    for (const [index, part] of channel.entries()) {
      next.push(
        word === "#"
          ? next[index] === true || covered[index + 1] === true
          : covered[index] === true && (word === "*" || word === part),
      );
    }
    covered = next;
  }
  return covered[channel.length] === true;
}
