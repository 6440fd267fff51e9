/** A running node: its parts in the order in which they were started, until it is told to stop. */
import { getLogger } from "@logtape/logtape";
import type { Component } from "../lifecycle/component.ts";
import { listenForStop } from "../lifecycle/stop_signals.ts";
import { EXIT } from "./exit_code.ts";

const log = getLogger(["coxswain", "node"]);

/** The second signal says: 128 + its number would hide that work was cut. */
const CUT_SHORT = EXIT.failed;

export interface NodeOptions {
  readonly id: string;
  /** How long what runs may go on after it was told to stop. */
  readonly graceMs: number;
}

export class Node {
  readonly #graceMs: number;
  readonly #parts: Component[] = [];
  #isStopping = false;
  readonly #givenUp = Promise.withResolvers<string>();

  constructor({ graceMs }: NodeOptions) {
    this.#graceMs = graceMs;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Starts a part; it is stopped before those that were started earlier. */
  async start(part: Component): Promise<void> {
    this.#parts.push(part);
    await part.start();
  }

  /** Takes over a part that its maker starts. */
  add(part: Component): void {
    this.#parts.push(part);
  }

  /** It cannot go on: it stops as if it were told to, and ends with a failure. */
  giveUp(reason: string): void {
    this.#givenUp.resolve(reason);
  }

  /** Resolves with the exit code, after a signal or because it gave up. */
  async runUntilStopped(): Promise<number> {
    using signals = listenForStop((signal) => {
      log.warn("Stopped at once by {signal}", { signal });
      process.exit(CUT_SHORT);
    });
    const why = await Promise.race([
      signals.told.then((signal) => ({ signal })),
      this.#givenUp.promise.then((reason) => ({ reason })),
    ]);
    log.info("Stopping: what runs may go on for {graceMs} ms", { graceMs: this.#graceMs, ...why });
    await this.stopParts(AbortSignal.timeout(this.#graceMs));
    log.info("Stopped");
    return "reason" in why ? EXIT.failed : EXIT.well;
  }

  /** Stops all parts, the latest first: each may finish what runs until the signal aborts. */
  async stopParts(abort: AbortSignal): Promise<void> {
    this.#isStopping = true;
    for (const part of this.#parts.splice(0).reverse()) {
      try {
        await part.stop(abort);
      } catch (error) {
        log.error("A part could not be stopped: {error}", { error });
      }
    }
  }
}
