/**
 * What a worker remembers of the requests that it took, for Celery's tools: how many of each task. And
 * what it tells of them on `celeryev`, where somebody asked for that.
 */
import type { Delivery } from "../broker/message.ts";
import { answeredEvent, REDACTED, retriedEvent, shownInput } from "../celery/events/event.ts";
import type { EventSender } from "../celery/events/event_sender.ts";
import type { ReceivedTask } from "../calls/wire/task_message.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { RequestWatcher } from "./executor.ts";
import type { Settlement } from "./settlement.ts";

/** Requests that come again and are remembered; then they may be told of once more. */
const MAX_AGAIN = 10_000;

/** Written by the executor. Costs a look-up a request while no events are told. */
export class RequestTally implements RequestWatcher {
  readonly #byTask = new Map<string, number>();
  #events: EventSender | undefined;
  /** Ids of requests that came again, and were told of. */
  readonly #again = new Set<string>();
  #processed = 0;

  /** Requests taken since the start. */
  get processed(): number {
    return this.#processed;
  }

  get byTask(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#byTask);
  }

  /** From now on events go there, while it wants them. */
  tell(events: EventSender): void {
    this.#events = events;
  }

  received(task: ReceivedTask, delivery: Delivery, descriptor: TaskDescriptor | undefined): void {
    if (delivery.redelivered && this.#wasTold(task.id)) return;
    this.#processed++;
    // Anybody may send names that no task has.
    if (descriptor) this.#byTask.set(task.task, (this.#byTask.get(task.task) ?? 0) + 1);
    if (!this.#events?.tellsTasks) return;
    const input = descriptor?.redact?.input
      ? { args: REDACTED, kwargs: REDACTED }
      : inputText(task, delivery);
    this.#events.task(task.id, { type: "task-received", task, ...input });
  }

  /** What waits behind long tasks is given back and comes again, several times a second. */
  #wasTold(id: string): boolean {
    if (this.#again.has(id)) return true;
    if (this.#again.size >= MAX_AGAIN) this.#again.clear();
    this.#again.add(id);
    return false;
  }

  started({ id }: ReceivedTask): void {
    if (this.#events?.tellsTasks) this.#events.task(id, { type: "task-started" });
  }

  settled(
    { id }: ReceivedTask,
    settlement: Settlement,
    { descriptor, runtimeMs }: Parameters<RequestWatcher["settled"]>[2],
  ): void {
    if (!this.#events?.tellsTasks) return;
    switch (settlement.kind) {
      case "answer":
      case "give_up":
        return this.#events.task(
          id,
          answeredEvent(settlement.reply, {
            runtimeMs,
            isResultRedacted: descriptor?.redact?.result ?? false,
          }),
        );
      case "retry":
        return this.#events.task(id, retriedEvent(settlement.error));
      case "try_again":
        // A request that died with its process runs again as it is: nobody retries it.
        if ("retries" in settlement.headers) this.#events.task(id, retriedEvent(undefined));
        return;
      case "give_back":
        return;
    }
  }
}

/** As the sender shows them, where it does: Celery's clients shorten theirs. */
function inputText(
  { isCompressed }: ReceivedTask,
  { message: { body, properties: { headers = {} } } }: Delivery,
): { readonly args: string; readonly kwargs: string } {
  const { argsrepr, kwargsrepr } = headers;
  if (typeof argsrepr === "string" && typeof kwargsrepr === "string") {
    return { args: argsrepr, kwargs: kwargsrepr };
  }
  const shown = isCompressed ? undefined : shownInput(body);
  return shown ?? { args: "...", kwargs: "..." };
}
