/** What a queue needs from the broker around it. */
import type { Deadlines } from "../../async/deadlines.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Message } from "../message.ts";
import type { Deathbed, DeathReason } from "./dead_letter.ts";
import type { Journal } from "./journal.ts";
import type { Shelf } from "./shelf.ts";

export interface Surroundings {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly journal: Journal;
  readonly shelf: Shelf;
  /** The next entry's id: greater than all before it. */
  nextId(): number;
  /** Publishes a message that a queue has given up. */
  bury(message: Message, bed: Deathbed, reason: DeathReason): void;
}
