/**
 * Who keeps the records of a broker's jobs: all recorders of one shared store together, or one with a
 * store of its own, and never two stores beside each other. The lock is a consumer of the queue
 * `cox.recorder.lock`, exclusive where the store is not shared, which the broker lets go of with its
 * connection; whose it is says who answers the question `ask.recorder`.
 *
 * States: idle → taking → taken ⇄ unsure (the broker was away) → released; or refused.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Broker, Consumer } from "../../broker/broker.ts";
import { BrokerAwayError, QueueTakenError } from "../../broker/errors.ts";
import { RECORDER_LOCK_QUEUE } from "../../broker/topology.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { askRecorder, type RecorderFacts } from "../questions.ts";

const log = getLogger(["coxswain", "recorder"]);

/** A recorder that lives answers long before. */
const ANSWER_LIMIT_MS = 2_000;
const TRY_AGAIN_MS = 1_000;
const LOOK_MS = 50;
/** The lock comes back sooner, unless the broker still believes in this node's old connection. */
const RESTORE_PATIENCE_MS = 1_000;

export class RecorderTakenError extends Error {
  override readonly name = "RecorderTakenError";
}

export interface ClaimOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly place: string;
  readonly isShared: boolean;
  readonly clock: Clock;
  /** Records may be kept from now on, for the first time or again. */
  readonly taken: () => void;
  /** Somebody else may keep them now: nothing is to be taken until `taken`. */
  readonly unsure: () => void;
  /** Somebody else keeps them, for good. */
  readonly refused: (reason: RecorderTakenError) => void;
}

export class RecorderClaim {
  readonly #options: ClaimOptions;
  readonly #pause: Alarm;
  readonly #stopping = new AbortController();
  #lock: Consumer | undefined;
  #state: "idle" | "taking" | "taken" | "unsure" | "refused" = "idle";
  #underway: Promise<void> = Promise.resolve();
  #unwatch: (() => void) | undefined;
  #companions: Promise<void> | undefined;

  constructor(options: ClaimOptions) {
    this.#options = options;
    this.#pause = new Alarm(options.clock);
  }

  get state() {
    return this.#state;
  }

  /**
   * Takes it, or goes on trying where whoever has it does not answer: then he is likely dead, and
   * the broker will notice.
   * @throws RecorderTakenError when somebody else keeps the records and is alive.
   */
  async start(): Promise<void> {
    const { broker, node } = this.#options;
    await broker.declareQueue(RECORDER_LOCK_QUEUE);
    this.#state = "taking";
    if (await this.#try()) return this.#onTaken();
    log.warn(
      "Another recorder has this broker's jobs and does not answer: waiting until it is gone",
      { node },
    );
    this.#underway = this.#keepTrying();
  }

  /** Lets go of it. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#unwatch?.();
    await this.#underway;
    await this.#companions;
    await this.#lock?.close();
    this.#state = "idle";
  }

  /** @returns whether it is taken; @throws RecorderTakenError */
  async #try(): Promise<boolean> {
    const { broker, isShared } = this.#options;
    try {
      const options = { prefetch: 1, exclusive: !isShared };
      this.#lock = await broker.consume(RECORDER_LOCK_QUEUE.name, options);
      return true;
    } catch (error) {
      if (!(error instanceof QueueTakenError)) throw error;
    }
    const other = await this.#askWho();
    if (other === undefined) return false;
    throw new RecorderTakenError(refusal(this.#options.place, other));
  }

  async #keepTrying(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#pause.wait(TRY_AGAIN_MS, signal);
      if (signal.aborted) return;
      try {
        if (await this.#try()) return this.#onTaken();
      } catch (error) {
        if (error instanceof RecorderTakenError) return this.#onRefused(error);
        if (!(error instanceof BrokerAwayError)) throw error;
      }
    }
  }

  #onTaken(): void {
    this.#state = "taken";
    this.#unwatch ??= this.#options.broker.watch(({ kind }) => {
      if (kind === "away") this.#onAway();
    });
    this.#options.taken();
    this.#companions ??= this.#lookForOtherPlaces();
  }

  #onRefused(error: RecorderTakenError): void {
    this.#state = "refused";
    this.#options.refused(error);
  }

  #onAway(): void {
    if (this.#state !== "taken" || this.#stopping.signal.aborted) return;
    this.#state = "unsure";
    this.#options.unsure();
    this.#underway = this.#makeSure();
  }

  /** The consumer comes back by itself; where it does not, somebody else may have taken the place. */
  async #makeSure(): Promise<void> {
    const { broker, clock } = this.#options;
    const { signal } = this.#stopping;
    let backAt: number | undefined;
    while (!signal.aborted) {
      await this.#pause.wait(LOOK_MS, signal);
      if (broker.state.kind !== "connected") {
        backAt = undefined;
        continue;
      }
      if (this.#lock?.isLive) return this.#onTaken();
      backAt ??= clock.monotonic();
      if (clock.monotonic() - backAt < RESTORE_PATIENCE_MS) continue;
      const other = await this.#askWho();
      if (other !== undefined) {
        return this.#onRefused(new RecorderTakenError(refusal(this.#options.place, other)));
      }
      if (broker.state.kind !== "connected") continue;
      // Nobody answers: it is our own old connection that the broker still believes in.
      return this.#onTaken();
    }
  }

  /** Recorders on one shared store are one; the same one has several names, so they only say so. */
  async #lookForOtherPlaces(): Promise<void> {
    const { place, isShared } = this.#options;
    if (!isShared) return;
    const other = await this.#ask((facts) => facts.place !== place);
    if (other === undefined) return;
    log.warn("Node {other} keeps this broker's jobs in {otherPlace}, this one in {place}", {
      other: other.node,
      otherPlace: other.place,
      place,
    });
  }

  /** Whoever keeps the records and cannot do so beside this node. */
  #askWho(): Promise<RecorderFacts | undefined> {
    return this.#ask((facts) => !(facts.isShared && this.#options.isShared));
  }

  async #ask(isWanted: (facts: RecorderFacts) => boolean): Promise<RecorderFacts | undefined> {
    const { broker, node, clock } = this.#options;
    const answer = askRecorder(broker, node, isWanted, { timeoutMs: ANSWER_LIMIT_MS, clock });
    try {
      return await answer;
    } catch (error) {
      if (error instanceof BrokerAwayError) return undefined;
      throw error;
    }
  }
}

function refusal(place: string, other: RecorderFacts): string {
  return `Cannot keep job records in ${place}: node "${other.node}" keeps those of this broker in ` +
    `${other.place}. Several fronts share the records in a PostgreSQL, given to all of them by ` +
    "--store postgres://…; a front with --no-recorder keeps none";
}
