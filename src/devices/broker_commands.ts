/**
 * Sends commands to devices, whichever node holds them: over `cox.devices` by the device's id, with the
 * answer to a queue of this node's own.
 */
import { Deadlines } from "../async/deadlines.ts";
import type { Broker, PrivateQueue, PublishResult } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import { DEVICES_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import {
  type CommandAnswer,
  commandMessage,
  lineOfReply,
  readAnswer,
  releaseMessage,
} from "./command_message.ts";
import { problemOfDeviceId } from "./device_id.ts";
import type { CommandEnding, DeviceCommands, LiveDevice, SendOptions } from "./devices.ts";
import { problemOfLine } from "./framing.ts";

/** Longest line that is sent at all; the node that holds the device may take less. */
const MAX_LINE_BYTES = 2 ** 20;
/** How long a device has to take a command, from when its node has it. */
export const WRITE_MS = 5_000;
/** What the way there and back may take besides. */
const MARGIN_MS = 2_000;
/** A node that does not hold the device any more has answered: another may, which gets that long. */
const SECOND_ANSWER_MS = 250;
/** A device that is known, but not bound now, gets that long: it has just come, or its node comes back. */
const RETURN_MS = 2_000;
const TRY_AGAIN_MS = 50;

export interface BrokerCommandsOptions {
  readonly broker: Broker;
  /** What is known of a device; without, it is known to the broker alone. */
  readonly find?: (id: string) => LiveDevice | undefined;
  /** A device has come to this node, and commands do not reach it yet. */
  readonly isComing?: (id: string) => boolean;
  readonly clock?: Clock;
}

interface Pending {
  /** The node that is known to hold it. */
  readonly expected: string | undefined;
  readonly resolve: (ending: CommandEnding) => void;
}

export class BrokerCommands implements Component, DeviceCommands {
  readonly #options: BrokerCommandsOptions;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #pending = new Map<string, Pending>();
  #sent = 0;
  /** Opened for the first command. */
  #replies: Promise<PrivateQueue> | undefined;
  #loop: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: BrokerCommandsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#deadlines = new Deadlines(this.#clock);
  }

  /** Commands that wait for their end. */
  get pending(): number {
    return this.#pending.size;
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    const replies = await this.#replies?.catch(() => undefined);
    await replies?.close();
    await this.#loop;
    this.#loseAll("this node stops");
  }

  async send(id: string, cmd: string, options: SendOptions = {}): Promise<CommandEnding> {
    options.signal?.throwIfAborted();
    if (problemOfDeviceId(id) !== undefined) return notFound(id);
    const problem = problemOfLine(cmd, MAX_LINE_BYTES);
    if (problem !== undefined) return { kind: "refused", message: `The command ${problem}` };
    const giveUpAt = this.#clock.monotonic() + RETURN_MS;
    const { find, isComing } = this.#options;
    while (true) {
      const isLate = this.#clock.monotonic() >= giveUpAt;
      // Until it is bound here, commands would go where it was before.
      const isToWait = !isLate && isComing?.(id) === true && this.#away() === undefined;
      const ending = isToWait ? "returned" : await this.#try(id, cmd, options);
      if (ending !== "returned") return ending;
      if (isLate || find?.(id) === undefined) return notFound(id);
      await this.#pause(TRY_AGAIN_MS);
      options.signal?.throwIfAborted();
    }
  }

  async #try(
    id: string,
    cmd: string,
    { replyMs, signal }: SendOptions,
  ): Promise<CommandEnding | "returned"> {
    const { broker, find } = this.#options;
    const queue = await this.#open();
    if (typeof queue === "string") return away(queue);
    const correlationId = `${this.#sent += 1}`;
    const known = find?.(id);
    const waited = this.#wait(correlationId, known?.node, WRITE_MS + (replyMs ?? 0) + MARGIN_MS);
    const message = commandMessage(
      id,
      {
        cmd,
        ...(replyMs === undefined ? {} : { replyMs }),
        ...(known === undefined ? {} : { epoch: known.epoch }),
        writeBy: Math.floor(this.#clock.now() + WRITE_MS),
      },
      { queue: queue.name, correlationId },
      WRITE_MS,
    );
    const published = publishEnding(
      broker.publish(message, { mandatory: true, confirm: true }),
    );
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      // The answer may be here before the broker has confirmed the question.
      const first = await Promise.race([waited, published, aborted.promise]);
      return first === "under way" ? await Promise.race([waited, aborted.promise]) : first;
    } catch (error) {
      // So that the device is free for others.
      if (signal?.aborted) this.#release(id, { queue: queue.name, correlationId });
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#pending.get(correlationId)?.resolve({ kind: "lost", message: "given up" });
    }
  }

  #release(id: string, answerTo: { readonly queue: string; readonly correlationId: string }): void {
    this.#options.broker.publish(releaseMessage(id, answerTo)).catch((error: unknown) => {
      // With the broker away the node that holds the device waits in vain, and then goes on.
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
    });
  }

  /** The queue of answers, or why there is none. */
  async #open(): Promise<{ readonly name: string } | string> {
    const why = this.#away();
    if (why !== undefined) return why;
    try {
      const { name } = await (this.#replies ??= this.#openReplies());
      return name === undefined ? "it has just come back" : { name };
    } catch (error) {
      this.#replies = undefined;
      if (error instanceof BrokerAwayError) return error.message;
      throw error;
    }
  }

  /** Why nothing can be sent now. */
  #away(): string | undefined {
    const { state } = this.#options.broker;
    if (this.#isStopped) return "this node stops";
    if (state.kind === "connected") return state.blocked;
    return state.kind === "away" ? state.reason : "it is not connected";
  }

  async #openReplies(): Promise<PrivateQueue> {
    const { broker } = this.#options;
    await broker.declareExchange(DEVICES_EXCHANGE);
    const queue = await broker.openPrivateQueue({ prefix: "cox.devices.replies." });
    queue.watch((name) => {
      if (name === undefined) this.#loseAll("the connection to the broker was lost");
    });
    this.#loop = this.#listen(queue);
    return queue;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message: { properties: { correlationId = "" }, body } } of queue) {
      const pending = this.#pending.get(correlationId);
      const answer = pending === undefined ? undefined : readAnswer(body);
      if (pending === undefined || answer === undefined) continue;
      const ending = endingOf(answer);
      if (ending !== undefined) pending.resolve(ending);
      else if (pending.expected === undefined || pending.expected === answer.node) {
        // Nobody else may hold it, or somebody who answers a moment later.
        this.#deadlines.set(
          this.#clock.monotonic() + SECOND_ANSWER_MS,
          () => pending.resolve({ kind: "not-found", message: `${answer.node} let it go` }),
        );
      }
    }
  }

  #wait(
    correlationId: string,
    expected: string | undefined,
    limitMs: number,
  ): Promise<CommandEnding> {
    const { promise, resolve } = Promise.withResolvers<CommandEnding>();
    const deadline = this.#deadlines.set(this.#clock.monotonic() + limitMs, () =>
      settle({
        kind: "lost",
        message: "The node that holds the device gave no answer: the command may have been written",
      }));
    const settle = (ending: CommandEnding) => {
      this.#pending.delete(correlationId);
      this.#deadlines.cancel(deadline);
      resolve(ending);
    };
    this.#pending.set(correlationId, { expected, resolve: settle });
    return promise;
  }

  #loseAll(why: string): void {
    const message = `While the command was under way ${why}: it may have been written`;
    for (const { resolve } of [...this.#pending.values()]) resolve({ kind: "lost", message });
  }

  #pause(durationMs: number): Promise<void> {
    return new Promise((resolve) => void this.#clock.after(durationMs, resolve));
  }
}

async function publishEnding(
  published: Promise<PublishResult>,
): Promise<CommandEnding | "returned" | "under way"> {
  try {
    return await published === "returned" ? "returned" : "under way";
  } catch (error) {
    if (error instanceof BrokerAwayError) {
      // It was connected a moment ago, so the message may be with it.
      return {
        kind: "lost",
        message: `${error.message}: whether the command was written nobody knows`,
      };
    }
    if (error instanceof PublishRefusedError) return { kind: "refused", message: error.message };
    throw error;
  }
}

/** Undefined: the node does not hold the device. */
function endingOf({ node, ending }: CommandAnswer): CommandEnding | undefined {
  switch (ending.kind) {
    case "written":
      return { kind: "written", node };
    case "replied":
      return { kind: "replied", node, line: lineOfReply(ending) };
    case "no-reply":
      return { kind: "no-reply", node, message: "The device sent no line in time" };
    case "busy":
    case "refused":
    case "lost":
      return { kind: ending.kind, message: ending.message };
    case "not-here":
      return undefined;
  }
}

function notFound(id: string): CommandEnding {
  return { kind: "not-found", message: `No device "${id.slice(0, 80)}" is connected` };
}

function away(reason: string): CommandEnding {
  return { kind: "broker-away", message: `The broker is away: ${reason}` };
}
