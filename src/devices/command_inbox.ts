/**
 * The commands for the devices that this node holds: each goes to its session, is acked when it was
 * handled there, and is answered when it has ended.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import type { Delivery } from "../broker/message.ts";
import type { Clock } from "../lifecycle/clock.ts";
import {
  answerMessage,
  type Command,
  type CommandAnswer,
  readCommand,
  type ReceivedCommand,
  replyMembers,
} from "./command_message.ts";
import { bytesOfLine, problemOfLine } from "./framing.ts";
import type { Session, SessionEnding } from "./session.ts";

const log = getLogger(["coxswain", "devices"]);

/** Commands that may be held unacked. */
export const COMMAND_PREFETCH = 2_000;
/** Past so many, none is kept for a device that is busy: the others need the room. */
const MANY_HELD = 1_500;
/** By so much the sender's clock may differ. */
const CLOCK_SKEW_MS = 10_000;

export interface CommandInboxOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly maxLineBytes: number;
  readonly clock: Clock;
  readonly find: (id: string) => Session | undefined;
  /** Waits where commands must not be taken yet. */
  readonly ready: () => Promise<void> | undefined;
}

export class CommandInbox {
  readonly #options: CommandInboxOptions;
  #held = 0;
  /** Commands that came since the start. */
  received = 0;

  constructor(options: CommandInboxOptions) {
    this.#options = options;
  }

  /** Ends when the queue is closed. */
  async run(queue: PrivateQueue): Promise<void> {
    for await (const delivery of queue) {
      const ready = this.#options.ready();
      if (ready !== undefined) await ready;
      this.#take(delivery);
    }
  }

  #take(delivery: Delivery): void {
    this.received += 1;
    const received = readCommand(delivery.message);
    if (received === undefined) {
      log.warn("Passed over a message that is no command", {
        exchange: delivery.message.exchange,
        key: delivery.message.routingKey,
      });
      return delivery.ack();
    }
    if (received.kind === "release") {
      this.#options.find(received.id)?.release(keyOf(received.answerTo));
      return delivery.ack();
    }
    const verdict = this.#judge(received);
    switch (verdict.kind) {
      case "silent":
        return delivery.ack();
      case "answer":
        delivery.ack();
        return this.#answer(received, verdict.ending);
      case "send":
        return this.#send(delivery, received, verdict.session);
    }
  }

  #judge({ id, command }: ReceivedCommand):
    | { readonly kind: "silent" }
    | { readonly kind: "answer"; readonly ending: CommandAnswer["ending"] }
    | { readonly kind: "send"; readonly session: Session } {
    const { find, clock, maxLineBytes } = this.#options;
    const session = find(id);
    if (clock.now() > command.writeBy + CLOCK_SKEW_MS) return { kind: "silent" };
    if (session === undefined) return { kind: "answer", ending: { kind: "not-here" } };
    // The device has connected elsewhere since, which is still to be heard here.
    if (command.epoch !== undefined && command.epoch > session.epoch) return { kind: "silent" };
    const problem = problemOfLine(command.cmd, maxLineBytes);
    if (problem !== undefined) {
      return { kind: "answer", ending: { kind: "refused", message: `The command ${problem}` } };
    }
    if (session.isBusy && this.#held >= MANY_HELD) {
      const message = "The device is busy, and too many commands wait for others";
      return { kind: "answer", ending: { kind: "busy", message } };
    }
    return { kind: "send", session };
  }

  #send(delivery: Delivery, received: ReceivedCommand, session: Session): void {
    const { cmd, replyMs }: Command = received.command;
    this.#held += 1;
    session.send({
      key: received.answerTo === undefined ? "" : keyOf(received.answerTo),
      bytes: bytesOfLine(cmd),
      ...(replyMs === undefined ? {} : { replyMs }),
      handled: () => {
        this.#held -= 1;
        delivery.ack();
      },
      ended: (ending) => this.#answer(received, answerOf(ending)),
    });
  }

  #answer({ id, answerTo }: ReceivedCommand, ending: CommandAnswer["ending"]): void {
    if (answerTo === undefined) return;
    const { broker, node } = this.#options;
    broker.publish(answerMessage(answerTo, { node, ending })).catch((error: unknown) => {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("An answer was not told: {reason}", { device: id, reason: error.message });
    });
  }
}

/** Names a command at the session that has it. */
function keyOf({ queue, correlationId }: NonNullable<ReceivedCommand["answerTo"]>): string {
  return `${correlationId} ${queue}`;
}

function answerOf(ending: SessionEnding): CommandAnswer["ending"] {
  switch (ending.kind) {
    case "written":
    case "no-reply":
      return { kind: ending.kind };
    case "replied":
      return { kind: "replied", ...replyMembers(ending.line) };
    case "busy":
      return { kind: "busy", message: `Nothing was written: ${ending.why}` };
    case "lost":
      return { kind: "lost", message: `The command may have been written: ${ending.why}` };
  }
}
