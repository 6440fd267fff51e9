/**
 * A worker among Celery's: it hears their remote control and tells events as they do. Puts the parts of
 * src/celery together with those of the worker.
 */
import type { Broker } from "../broker/broker.ts";
import { ControlListener } from "../celery/control/control_listener.ts";
import { Mingle } from "../celery/control/mingle.ts";
import type { WorkerFacts } from "../celery/control/panel.ts";
import { EventSender, tellWherePossible } from "../celery/events/event_sender.ts";
import { LogicalClock } from "../celery/logical_clock.ts";
import { celeryNodeName } from "../celery/node_name.ts";
import { systemClock } from "../lifecycle/clock.ts";
import { WorkerPanel, type WorkerPanelOptions } from "./control_panel.ts";
import type { QueueSteering } from "./queue_steering.ts";

/** What an operator said of Celery's tools. */
export interface CelerySettings {
  readonly facts: WorkerFacts;
  /** Whether events are told from the start. */
  readonly tellsEvents: boolean;
  /** Ends the node; absent where it is not allowed. */
  readonly shutDown?: () => void;
}

export interface RemoteControlOptions
  extends Omit<WorkerPanelOptions, "facts" | "shutDown" | "events"> {
  readonly broker: Broker;
  readonly settings: CelerySettings;
  readonly steering: QueueSteering;
  /** It listens again after a while of deafness: what was said meanwhile was missed. */
  readonly onBack: () => void;
}

export class RemoteControl {
  readonly #options: RemoteControlOptions;
  readonly #listener: ControlListener;
  readonly #events: EventSender;
  readonly #mingle: Mingle;

  constructor(options: RemoteControlOptions) {
    this.#options = options;
    const { broker, node, settings, executor, tally } = options;
    const { facts, shutDown } = settings;
    const logicalClock = new LogicalClock();
    this.#events = new EventSender({
      broker,
      name: celeryNodeName(node),
      logicalClock,
      figures: () => ({ active: executor.running, processed: tally.processed }),
    });
    tally.tell(this.#events);
    this.#mingle = new Mingle({
      broker,
      name: celeryNodeName(node),
      revoke: (ids) => {
        for (const id of ids) executor.revoke(id, false);
      },
      clock: systemClock,
    });
    this.#listener = new ControlListener({
      broker,
      node,
      logicalClock,
      panel: new WorkerPanel({
        ...options,
        events: this.#events,
        facts,
        ...(shutDown === undefined ? {} : { shutDown }),
      }),
      steer: (command) => options.steering.hear(command),
      onBack: options.onBack,
    });
  }

  /** Hears commands from now on, and asks what was said before. */
  async start(): Promise<void> {
    await this.#listener.start();
    await this.#mingle.start();
  }

  /** Says that the worker is there, once it takes requests, where events are wanted. */
  async announce(): Promise<void> {
    if (this.#options.settings.tellsEvents) await tellWherePossible(this.#events);
  }

  async stop(): Promise<void> {
    await this.#events.stop();
    await this.#mingle.stop();
    await this.#listener.stop();
  }
}
