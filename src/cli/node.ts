/** A running node: its parts in the order in which they were started, until it is told to stop. */
import { getLogger } from "@logtape/logtape";
import type { Component } from "../lifecycle/component.ts";
import { listenForStop, type StopSignals } from "../lifecycle/stop_signals.ts";
import { EXIT } from "./exit_code.ts";

const log = getLogger(["coxswain", "node"]);

/** The second signal says: 128 + its number would hide that work was cut. */
const CUT_SHORT = EXIT.failed;

export interface NodeOptions {
  readonly id: string;
  /** How long what runs may go on after it was told to stop. */
  readonly graceMs: number;
}

/** While it is developed: whoever watches may end it to start it anew. */
export interface Restarts {
  /** Aborts when it is to be started anew. */
  readonly wanted: AbortSignal;
  /** Ports that were any free ones at first, and are kept. */
  readonly ports: Map<string, number>;
}

/** How long what runs may go on before a restart. */
const RESTART_GRACE_MS = 1_000;
/** A developer's Ctrl-C waits for nothing: what does not end within that is cut off. */
const WATCHED_END_MS = 300;

export class Node {
  readonly #graceMs: number;
  readonly #restarts: Restarts | undefined;
  readonly #parts: Component[] = [];
  #isStopping = false;
  #signals: StopSignals | undefined;
  readonly #givenUp = Promise.withResolvers<string>();
  readonly #toldToEnd = Promise.withResolvers<string>();

  constructor({ graceMs }: NodeOptions, restarts?: Restarts) {
    this.#graceMs = graceMs;
    this.#restarts = restarts;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** The port to listen on, and where to keep the one that it came to be. */
  portFor(what: string, wanted: number): number {
    return wanted === 0 ? this.#restarts?.ports.get(what) ?? 0 : wanted;
  }

  keepPort(what: string, port: number): void {
    this.#restarts?.ports.set(what, port);
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

  /**
   * From now on a signal waits until the start has ended: what was taken meanwhile is finished or given
   * back. Before that one ends the process, which has nothing to lose, at once.
   */
  heedSignals(): void {
    this.#signals ??= listenForStop((signal) => {
      log.warn("Stopped at once by {signal}", { signal });
      process.exit(CUT_SHORT);
    });
  }

  /** It cannot go on: it stops as if it were told to, and ends with a failure. */
  giveUp(reason: string): void {
    this.#givenUp.resolve(reason);
  }

  /** Somebody who may has told it to stop: it does as after a signal. */
  end(by: string): void {
    this.#toldToEnd.resolve(by);
  }

  /**
   * Resolves with the exit code, after a signal or because it gave up; undefined where it is to be
   * started anew.
   */
  async runUntilStopped(): Promise<number | undefined> {
    this.heedSignals();
    try {
      return await this.#untilStopped();
    } finally {
      this.#signals?.[Symbol.dispose]();
    }
  }

  async #untilStopped(): Promise<number | undefined> {
    const told = this.#signals?.told ?? Promise.withResolvers<never>().promise;
    const why = await Promise.race([
      told.then((signal) => ({ signal })),
      this.#givenUp.promise.then((reason) => ({ reason })),
      this.#toldToEnd.promise.then((by) => ({ by })),
      this.#restartWanted(),
    ]);
    if ("restart" in why) {
      let isTold = false;
      void told.then(() => {
        isTold = true;
        this.#cutSoon();
      });
      await this.stopParts(AbortSignal.timeout(Math.min(this.#graceMs, RESTART_GRACE_MS)));
      return isTold ? EXIT.well : undefined;
    }
    if (this.#restarts !== undefined && "signal" in why) {
      this.#cutSoon();
      await this.stopParts(AbortSignal.abort());
      log.info("Stopped");
      return EXIT.well;
    }
    log.info("Stopping: what runs may go on for {graceMs} ms", { graceMs: this.#graceMs, ...why });
    await this.stopParts(AbortSignal.timeout(this.#graceMs));
    log.info("Stopped");
    return "reason" in why ? EXIT.failed : EXIT.well;
  }

  #restartWanted(): Promise<{ readonly restart: true }> {
    const wanted = this.#restarts?.wanted;
    const restart = { restart: true } as const;
    if (wanted?.aborted) return Promise.resolve(restart);
    return new Promise((resolve) =>
      wanted?.addEventListener("abort", () => resolve(restart), { once: true })
    );
  }

  #cutSoon(): void {
    setTimeout(() => process.exit(EXIT.well), WATCHED_END_MS).unref();
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
