/** The four ways in which an exchange finds the targets of a message. Knows nothing of queues. */
import type { BindingSpec, ExchangeType } from "../broker.ts";
import type { MessageHeaders } from "../message.ts";
import { Tally } from "../tally.ts";
import { TopicTrie } from "../topic_trie.ts";

export type BindingArguments = NonNullable<BindingSpec["arguments"]>;

/** What one binding asks of a message. */
export interface Condition {
  readonly routingKey: string;
  readonly arguments: BindingArguments;
}

export interface RoutingTable<T> {
  add(condition: Condition, target: T): void;
  /** Takes back one `add` of the same condition and target. */
  remove(condition: Condition, target: T): void;
  /** The targets that a message reaches, each once. Valid until the table changes. */
  route(routingKey: string, headers: MessageHeaders | undefined): readonly T[];
}

/** Most routing keys whose targets a topic exchange remembers; then it starts anew. */
const TOPIC_CACHE_KEYS = 4096;

export function routingTable<T>(type: ExchangeType): RoutingTable<T> {
  switch (type) {
    case "direct":
      return directTable();
    case "fanout":
      return fanoutTable();
    case "topic":
      return topicTable();
    case "headers":
      return headersTable();
  }
}

function directTable<T>(): RoutingTable<T> {
  const byKey = new Map<string, Tally<T>>();
  return {
    add({ routingKey }, target) {
      let targets = byKey.get(routingKey);
      if (targets === undefined) byKey.set(routingKey, targets = new Tally());
      targets.add(target);
    },
    remove({ routingKey }, target) {
      const targets = byKey.get(routingKey);
      targets?.remove(target);
      if (targets?.isEmpty) byKey.delete(routingKey);
    },
    route: (routingKey) => byKey.get(routingKey)?.list ?? [],
  };
}

function fanoutTable<T>(): RoutingTable<T> {
  const targets = new Tally<T>();
  return {
    add: (_, target) => targets.add(target),
    remove: (_, target) => targets.remove(target),
    route: () => targets.list,
  };
}

function topicTable<T>(): RoutingTable<T> {
  const trie = new TopicTrie<T>();
  const cache = new Map<string, readonly T[]>();
  return {
    add({ routingKey }, target) {
      trie.add(routingKey, target);
      cache.clear();
    },
    remove({ routingKey }, target) {
      trie.remove(routingKey, target);
      cache.clear();
    },
    route(routingKey) {
      const known = cache.get(routingKey);
      if (known !== undefined) return known;
      if (cache.size >= TOPIC_CACHE_KEYS) cache.clear();
      const targets = trie.match(routingKey);
      cache.set(routingKey, targets);
      return targets;
    },
  };
}

/**
 * AMQP 0-9-1 §3.1.3.4 and RabbitMQ's rules: type and value must be the same; arguments whose names
 * start with `x-` do not count unless `x-match` ends with `-with-x`; `all` of nothing matches, `any` of nothing does not.
 */
function headersTable<T>(): RoutingTable<T> {
  interface Wanted {
    readonly condition: Condition;
    readonly target: T;
    readonly pairs: readonly (readonly [string, string | number | boolean])[];
    readonly isAny: boolean;
  }
  let bindings: Wanted[] = [];
  return {
    add(condition, target) {
      const match = String(condition.arguments["x-match"] ?? "all");
      const pairs = Object.entries(condition.arguments).filter(([name]) =>
        match.endsWith("-with-x") ? name !== "x-match" : !name.startsWith("x-")
      );
      const isAny = match.startsWith("any");
      bindings.push({ condition, target, pairs, isAny });
    },
    remove(condition, target) {
      const gone = bindings.find((entry) =>
        entry.target === target && isSameCondition(entry.condition, condition)
      );
      bindings = bindings.filter((entry) => entry !== gone);
    },
    route(_, headers = {}) {
      const isMet = ([name, value]: readonly [string, string | number | boolean]) =>
        Object.hasOwn(headers, name) && headers[name] === value;
      const found = new Set<T>();
      for (const { target, pairs, isAny } of bindings) {
        if (isAny ? pairs.some(isMet) : pairs.every(isMet)) found.add(target);
      }
      return [...found];
    },
  };
}

export function isSameCondition(one: Condition, other: Condition): boolean {
  return one.routingKey === other.routingKey &&
    argumentsKey(one.arguments) === argumentsKey(other.arguments);
}

/** The same text for the same arguments in any order. */
export function argumentsKey(given: BindingArguments): string {
  return JSON.stringify(Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Reads what `argumentsKey` wrote. */
export function parseArguments(text: string): BindingArguments {
  return Object.fromEntries(JSON.parse(text) as [string, string | number | boolean][]);
}
