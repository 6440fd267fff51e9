import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { TopicTrie } from "../../src/broker/topic_trie.ts";
import {
  channelMatcher,
  problemOfChannel,
  problemOfPattern,
} from "../../src/pubsub/channel_name.ts";

const word = fc.constantFrom("a", "b", "", "ab");
const words = (of: fc.Arbitrary<string>) =>
  fc.array(of, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("."));

describe("channelMatcher()", () => {
  test("finds what the broker's own topics find", () => {
    const pattern = words(fc.oneof(word, fc.constantFrom("*", "#")));
    fc.assert(fc.property(pattern, words(word), (given, channel) => {
      const trie = new TopicTrie<string>();
      trie.add(given, "target");
      expect(channelMatcher(given)(channel)).toBe(trie.match(channel).length > 0);
    }));
  });

  test("many # cost no more than their product", () => {
    const pattern = Array.from({ length: 60 }, () => "#").join(".");
    const matches = channelMatcher(`${pattern}.end`);
    expect(matches(Array.from({ length: 120 }, () => "a").join("."))).toBe(false);
  });
});

describe("names", () => {
  test("of channels have no wildcards as words, and fit into AMQP's short strings", () => {
    for (const name of ["a", "orders.new", "a*b", "x.#y", "wéird/näme 1"]) {
      expect(problemOfChannel(name)).toBeUndefined();
    }
    for (const name of ["", " ", "orders.*", "#", "a.#", "a\nb", "x".repeat(256)]) {
      expect(problemOfChannel(name)).toBeString();
    }
  });

  test("of patterns have them", () => {
    for (const pattern of ["#", "orders.*", "a.#.b"]) {
      expect(problemOfPattern(pattern)).toBeUndefined();
    }
    expect(problemOfPattern("")).toBeString();
  });
});
