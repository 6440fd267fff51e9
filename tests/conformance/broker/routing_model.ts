/** How each exchange type matches, written as simply as can be: what adapters are compared with. */
import fc from "fast-check";
import type { ExchangeType } from "../../../src/broker/broker.ts";

export interface ModelBinding {
  readonly routingKey: string;
  readonly arguments?: Readonly<Record<string, string | number | boolean>>;
}

export interface ModelMessage {
  readonly routingKey: string;
  readonly headers: Readonly<Record<string, string | number | boolean>>;
}

export interface RoutingModel {
  readonly binding: fc.Arbitrary<ModelBinding>;
  readonly message: fc.Arbitrary<ModelMessage>;
  matches(binding: ModelBinding, message: ModelMessage): boolean;
}

/** AMQP 0-9-1 §3.1.3.3: words divided by dots; `*` is one word, `#` any number of words. */
export function topicMatches(pattern: readonly string[], key: readonly string[]): boolean {
  const [word, ...rest] = pattern;
  if (word === undefined) return key.length === 0;
  if (word === "#") {
    return topicMatches(rest, key) || (key.length > 0 && topicMatches(pattern, key.slice(1)));
  }
  return key.length > 0 && (word === "*" || word === key[0]) && topicMatches(rest, key.slice(1));
}

/** The empty key has no words; "." has two empty ones. */
export function wordsOf(key: string): string[] {
  return key === "" ? [] : key.split(".");
}

/**
 * AMQP 0-9-1 §3.1.3.4, and RabbitMQ's rules: same type and value; names with `x-` count where it says so
 * alone.
 */
function headersMatch(
  wanted: Readonly<Record<string, string | number | boolean>>,
  found: Readonly<Record<string, string | number | boolean>>,
): boolean {
  const match = String(wanted["x-match"] ?? "all");
  const isCounted = (name: string) =>
    match.endsWith("-with-x") ? name !== "x-match" : !name.startsWith("x-");
  const pairs = Object.entries(wanted).filter(([name]) => isCounted(name));
  const isMet = ([name, value]: [string, string | number | boolean]) => found[name] === value;
  return match.startsWith("any") ? pairs.some(isMet) : pairs.every(isMet);
}

const words = fc.constantFrom("a", "b", "c", "");
const keys = fc.array(words, { maxLength: 4 }).map((list) => list.join("."));
const patterns = fc.array(fc.constantFrom("a", "b", "*", "#", ""), { maxLength: 4 })
  .map((list) => list.join("."));
const headerTables = fc.dictionary(
  fc.constantFrom("colour", "size", "kind", "x-ignored"),
  fc.constantFrom("red", "1", 1, 2, true, false),
);
const plainMessages = fc.record({ routingKey: keys, headers: fc.constant({}) });

export const routingModels: Readonly<Record<ExchangeType, RoutingModel>> = {
  direct: {
    binding: fc.record({ routingKey: keys }),
    message: plainMessages,
    matches: (binding, message) => binding.routingKey === message.routingKey,
  },
  fanout: {
    binding: fc.record({ routingKey: keys }),
    message: plainMessages,
    matches: () => true,
  },
  topic: {
    binding: fc.record({ routingKey: patterns }),
    message: plainMessages,
    matches: (binding, message) =>
      topicMatches(wordsOf(binding.routingKey), wordsOf(message.routingKey)),
  },
  headers: {
    binding: fc.record({
      routingKey: keys,
      arguments: fc.tuple(
        headerTables,
        fc.constantFrom(
          {},
          ...["all", "any", "all-with-x", "any-with-x"].map((match) => ({ "x-match": match })),
        ),
      )
        .map(([table, match]) => ({ ...table, ...match })),
    }),
    message: fc.record({ routingKey: keys, headers: headerTables }),
    matches: (binding, message) => headersMatch(binding.arguments ?? {}, message.headers),
  },
};
