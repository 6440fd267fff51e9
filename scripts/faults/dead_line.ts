/**
 * A line to the broker that can die without a word: packets vanish, connections stay open on both sides.
 * Where the system lets us, nodes live in a network namespace of their own and frames go to an Ethernet
 * address that nobody has, so that TCP itself sees what it sees when a cable is cut. Elsewhere a proxy
 * goes silent.
 */
import { spawnSync } from "node:child_process";
import type { RabbitMq } from "../services/rabbitmq.ts";
import { atExit } from "./at_exit.ts";
import { AmqpProxy, type Direction } from "./amqp_proxy.ts";

/** Nobody's: locally administered. */
const NOBODY = "02:00:00:00:00:99";

export interface DeadLine extends AsyncDisposable {
  readonly kind: "network namespace" | "proxy";
  /** Put before a program that is to live at the far end. */
  readonly prefix: readonly string[];
  /** Address at which a program at the far end is reached, by a line that does not die. */
  readonly host: string;
  /** Host and port at which the far end reaches the broker. */
  readonly brokerAddress: string;
  silence(...directions: readonly Direction[]): void;
  carry(): void;
}

/** The namespace where it can be made, else the proxy. */
export async function openDeadLine(rabbit: RabbitMq): Promise<DeadLine> {
  return NamespaceLine.tryOpen(rabbit) ?? await openProxyLine(rabbit);
}

export async function openProxyLine(rabbit: RabbitMq): Promise<DeadLine> {
  const proxy = await AmqpProxy.listen(rabbit.port);
  return {
    kind: "proxy",
    prefix: [],
    host: "127.0.0.1",
    brokerAddress: `127.0.0.1:${proxy.port}`,
    silence: (...directions) => proxy.silence(...directions),
    carry: () => proxy.carry(),
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  };
}

/**
 * A namespace with two pairs of interfaces, one to the broker and one for all else. Addresses are of the
 * range for benchmarks of networks (RFC 2544), 198.18.0.0/15.
 */
class NamespaceLine implements DeadLine {
  readonly kind = "network namespace";
  readonly prefix: readonly string[];
  readonly host: string;
  readonly brokerAddress: string;
  readonly #name: string;
  readonly #nearAddress: string;
  readonly #farAddress: string;
  readonly #forget: () => void;

  private constructor(port: number) {
    const place = process.pid % 256;
    this.#name = `cox${process.pid}`;
    this.#nearAddress = `198.18.${place}.1`;
    this.#farAddress = `198.18.${place}.2`;
    this.host = `198.18.${place}.6`;
    this.brokerAddress = `${this.#nearAddress}:${port}`;
    this.prefix = ["ip", "netns", "exec", this.#name];
    this.#forget = atExit(() => this.#remove());
  }

  static tryOpen(rabbit: RabbitMq): NamespaceLine | undefined {
    if (process.getuid?.() !== 0) return undefined;
    const line = new NamespaceLine(rabbit.port);
    if (!line.#make()) {
      line.#end();
      return undefined;
    }
    // The broker listens on loopback alone, and lets its user in from there alone.
    rabbit.ctl(
      "eval",
      `application:set_env(rabbit, loopback_users, []), ` +
        `rabbit_networking:start_tcp_listener({"${line.#nearAddress}", ${rabbit.port}}, 10).`,
    );
    return line;
  }

  silence(...directions: readonly Direction[]): void {
    const nobody = ["lladdr", NOBODY, "nud", "permanent", "dev"];
    for (const direction of directions) {
      const isMade = direction === "toBroker"
        ? this.#far("neigh", "replace", this.#nearAddress, ...nobody, `${this.#name}b`)
        : ip("neigh", "replace", this.#farAddress, ...nobody, `${this.#name}a`);
      if (!isMade) throw new Error(`Cannot silence the line ${this.#name} ${direction}`);
    }
  }

  carry(): void {
    this.#far("neigh", "del", this.#nearAddress, "dev", `${this.#name}b`);
    ip("neigh", "del", this.#farAddress, "dev", `${this.#name}a`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    return Promise.resolve();
  }

  #make(): boolean {
    const name = this.#name;
    const control = this.host.replace(/\d+$/, "5");
    return ip("netns", "add", name) &&
      ip("link", "add", `${name}a`, "type", "veth", "peer", "name", `${name}b`) &&
      ip("link", "set", `${name}b`, "netns", name) &&
      ip("addr", "add", `${this.#nearAddress}/30`, "dev", `${name}a`) &&
      ip("link", "set", `${name}a`, "up") &&
      this.#far("addr", "add", `${this.#farAddress}/30`, "dev", `${name}b`) &&
      this.#far("link", "set", `${name}b`, "up") &&
      ip("link", "add", `${name}c`, "type", "veth", "peer", "name", `${name}d`) &&
      ip("link", "set", `${name}d`, "netns", name) &&
      ip("addr", "add", `${control}/30`, "dev", `${name}c`) &&
      ip("link", "set", `${name}c`, "up") &&
      this.#far("addr", "add", `${this.host}/30`, "dev", `${name}d`) &&
      this.#far("link", "set", `${name}d`, "up") &&
      this.#far("link", "set", "lo", "up");
  }

  #end(): void {
    this.#forget();
    this.#remove();
  }

  /** With the namespace go its interfaces, and their other ends. */
  #remove(): void {
    ip("netns", "del", this.#name);
    ip("link", "del", `${this.#name}a`);
    ip("link", "del", `${this.#name}c`);
  }

  #far(...args: readonly string[]): boolean {
    return ip("-n", this.#name, ...args);
  }
}

/** @returns whether it did. */
function ip(...args: readonly string[]): boolean {
  return spawnSync("ip", args, { stdio: "ignore" }).status === 0;
}
