/**
 * Which topic patterns match a routing key (AMQP 0-9-1 §3.1.3.3): patterns as a tree of words, walked
 * with the set of all nodes that the key can have reached so far. The cost of a key is bounded by its
 * words times the nodes, whatever the patterns are; trying each `#` with each length would not be.
 */
import { Tally } from "./tally.ts";

class Node<T> {
  readonly words = new Map<string, Node<T>>();
  readonly targets = new Tally<T>();
  /** This node is a `#`: it stays reached over any number of words. */
  readonly isHash: boolean;

  constructor(isHash: boolean) {
    this.isHash = isHash;
  }

  get isBare(): boolean {
    return this.words.size === 0 && this.targets.isEmpty;
  }
}

export class TopicTrie<T> {
  readonly #root = new Node<T>(false);

  add(pattern: string, target: T): void {
    let node = this.#root;
    for (const word of wordsOf(pattern)) {
      let next = node.words.get(word);
      if (next === undefined) {
        next = new Node<T>(word === "#");
        node.words.set(word, next);
      }
      node = next;
    }
    node.targets.add(target);
  }

  /** Removes what `add` added once; branches that lead nowhere any more go too. */
  remove(pattern: string, target: T): void {
    const path: { parent: Node<T>; word: string; node: Node<T> }[] = [];
    let node = this.#root;
    for (const word of wordsOf(pattern)) {
      const next = node.words.get(word);
      if (next === undefined) return;
      path.push({ parent: node, word, node: next });
      node = next;
    }
    node.targets.remove(target);
    for (const step of path.reverse()) {
      if (!step.node.isBare) return;
      step.parent.words.delete(step.word);
    }
  }

  /** The targets of all patterns that match, each once. */
  match(routingKey: string): T[] {
    let reached = new Set<Node<T>>();
    reach(this.#root, reached);
    for (const word of wordsOf(routingKey)) {
      const next = new Set<Node<T>>();
      for (const node of reached) {
        if (node.isHash) reach(node, next);
        reach(node.words.get(word), next);
        reach(node.words.get("*"), next);
      }
      if (next.size === 0) return [];
      reached = next;
    }
    const found = new Set<T>();
    for (const node of reached) for (const target of node.targets.list) found.add(target);
    return [...found];
  }
}

/** Marks a node as reached, and the `#` below it, which matches no word at all too. */
function reach<T>(node: Node<T> | undefined, into: Set<Node<T>>): void {
  for (let next = node; next !== undefined && !into.has(next); next = next.words.get("#")) {
    into.add(next);
  }
}

/** The empty key has no words; "." has two empty ones. */
function wordsOf(key: string): string[] {
  return key === "" ? [] : key.split(".");
}
