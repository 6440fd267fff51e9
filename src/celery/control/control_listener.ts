/**
 * Listens to Celery's remote control on `celery.pidbox` and answers as a Celery worker does. What is
 * answered is methods.ts; commands of our own (pauses that the broker remembers) go by beside it.
 */
import { uptime } from "node:os";
import { getLogger } from "@logtape/logtape";
import type { Broker, ExchangeSpec, PrivateQueue } from "../../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../../broker/errors.ts";
import type { Delivery } from "../../broker/message.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../../broker/topology.ts";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { LogicalClock } from "../logical_clock.ts";
import {
  type ControlCommand,
  decodeCommand,
  encodeAnswer,
  isFor,
  isOver,
  ownQueueCommand,
  type QueueCommand,
} from "./command.ts";
import { answer, answerJson, NO_ANSWER } from "./methods.ts";
import { NamePatternError } from "./name_pattern.ts";
import type { ControlPanel } from "./panel.ts";

const log = getLogger(["coxswain", "celery"]);

/** Commands that are being answered; more than that are not, as if they had not been heard. */
const MAX_UNDERWAY = 256;

export interface ControlListenerOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly panel: ControlPanel;
  readonly logicalClock: LogicalClock;
  /** A command of our own nodes: a queue was paused or resumed for all workers. */
  readonly steer: (command: QueueCommand) => void;
  /** It listens again after a while of deafness: what was said meanwhile was missed. */
  readonly onBack: () => void;
  readonly clock?: Clock;
}

export class ControlListener {
  readonly #options: ControlListenerOptions;
  readonly #clock: Clock;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;
  #underway = 0;

  constructor(options: ControlListenerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  async start(): Promise<void> {
    const { broker, node } = this.#options;
    await declareOrUse(broker, CONTROL_EXCHANGE);
    await declareOrUse(broker, CONTROL_REPLY_EXCHANGE);
    this.#queue = await broker.openPrivateQueue({
      prefix: `${node}.celery.pidbox.`,
      bindings: [{ exchange: CONTROL_EXCHANGE.name }],
    });
    this.#loop = this.#listen(this.#queue);
    this.#queue.watch((name) => {
      if (name !== undefined) this.#options.onBack();
    });
  }

  async stop(): Promise<void> {
    await this.#queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const delivery of queue) this.#hear(delivery);
  }

  #hear(delivery: Delivery): void {
    const { node, panel, logicalClock, steer } = this.#options;
    const decoded = decodeCommand(delivery);
    if (decoded.kind === "malformed") {
      const { reason } = decoded;
      return log.warn("Passed over a message on {exchange} that is no command: {reason}", {
        exchange: CONTROL_EXCHANGE.name,
        reason,
      });
    }
    const { command } = decoded;
    logicalClock.adjust(command.clock);
    const ours = ownQueueCommand(command);
    if (ours !== undefined) return steer(ours);
    try {
      if (!isFor(command, panel.name, [node])) return;
    } catch (error) {
      if (!(error instanceof NamePatternError)) throw error;
      return log.warn("Passed over command {method}: {reason}", {
        method: command.method,
        reason: error.message,
      });
    }
    if (isOver(command, this.#clock.now())) {
      return log.debug("Passed over command {method}: its sender waits no longer", {
        method: command.method,
      });
    }
    if (this.#underway >= MAX_UNDERWAY) {
      return log.warn("Passed over command {method}: {underway} others are being answered", {
        method: command.method,
        underway: this.#underway,
      });
    }
    this.#underway++;
    void this.#answer(command).finally(() => this.#underway--);
  }

  /** Never rejects: who does not get an answer asks again. */
  async #answer({ method, args, reply }: ControlCommand): Promise<void> {
    const { broker, panel, logicalClock } = this.#options;
    try {
      const value = await answer(method, args, {
        panel,
        clock: logicalClock,
        machineUptime: uptime,
      });
      log.debug("Answered command {method}", { method, isAnswered: reply !== undefined });
      if (reply === undefined || value === NO_ANSWER) return;
      await broker.publish(encodeAnswer(reply, {
        name: panel.name,
        valueJson: answerJson(value),
        clock: logicalClock.forward(),
      }));
    } catch (error) {
      if (error instanceof BrokerAwayError || error instanceof PublishRefusedError) {
        return log.debug("Command {method} was not answered: {reason}", {
          method,
          reason: error.message,
        });
      }
      log.error("Command {method} could not be answered: {error}", { method, error });
    }
  }
}

/** Other versions of Celery may have declared it otherwise, which is as well. */
async function declareOrUse(broker: Broker, exchange: ExchangeSpec): Promise<void> {
  try {
    await broker.declareExchange(exchange);
  } catch (error) {
    if (!(error instanceof DeclarationError)) throw error;
    log.warn("Exchange {exchange} is used as it is: {reason}", {
      exchange: exchange.name,
      reason: error.message,
    });
  }
}
