/**
 * The sessions of one gateway: who is here, by id and by number, and whether there is room for more.
 * Pure bookkeeping; an id has one session at most.
 */
import type { Session } from "./session.ts";

export interface RegistryLimits {
  readonly maxConnections: number;
  /** Of one remote address. */
  readonly maxPerAddress: number;
}

export type Admission =
  | { readonly kind: "admitted" }
  | { readonly kind: "refused"; readonly why: string };

const ADMITTED: Admission = { kind: "admitted" };

export class Registry {
  readonly #limits: RegistryLimits;
  readonly #online = new Map<string, Session>();
  readonly #greeting = new Set<Session>();
  readonly #perHost = new Map<string, number>();
  #connections = 0;

  constructor(limits: RegistryLimits) {
    this.#limits = limits;
  }

  /** Connections, whether anybody knows who they are or not. */
  get connections(): number {
    return this.#connections;
  }

  get size(): number {
    return this.#online.size;
  }

  /** A connection that comes takes a place, where there is one; `leave` gives it back. */
  enter(host: string): Admission {
    const { maxConnections, maxPerAddress } = this.#limits;
    const ofHost = this.#perHost.get(host) ?? 0;
    if (this.#connections >= maxConnections) {
      return { kind: "refused", why: `there are ${maxConnections} connections already` };
    }
    if (ofHost >= maxPerAddress) {
      return {
        kind: "refused",
        why: `there are ${maxPerAddress} connections from this address already`,
      };
    }
    this.#connections += 1;
    this.#perHost.set(host, ofHost + 1);
    return ADMITTED;
  }

  leave(host: string): void {
    this.#connections -= 1;
    const ofHost = (this.#perHost.get(host) ?? 0) - 1;
    if (ofHost > 0) this.#perHost.set(host, ofHost);
    else this.#perHost.delete(host);
  }

  /** One that has to say who it is. */
  greet(session: Session): void {
    this.#greeting.add(session);
  }

  /** It is the one with its id from now on. @returns the one before it. */
  put(session: Session): Session | undefined {
    this.#greeting.delete(session);
    const before = this.#online.get(session.id);
    this.#online.set(session.id, session);
    return before;
  }

  /** @returns whether it was the one with its id. */
  remove(session: Session): boolean {
    this.#greeting.delete(session);
    return this.#online.get(session.id) === session && this.#online.delete(session.id);
  }

  find(id: string): Session | undefined {
    return this.#online.get(id);
  }

  online(): IterableIterator<Session> {
    return this.#online.values();
  }

  greeting(): IterableIterator<Session> {
    return this.#greeting.values();
  }
}
