/**
 * Where a subscriber is: the id that it saw last and, where several publish at once, what it had seen
 * of the others by then.
 *
 * Every front gets every message, and the messages of one publisher in their order; those of two may
 * cross, so that "after message 7" is not the same on two fronts. With the others' latest ids in it, a
 * position means the same everywhere: `ID~ID~ID`, or `ID~` where no other has published lately. An id
 * alone means what it does in the order of the front that is asked.
 */
import { idOf, type Stamp, stampOf } from "./message_id.ts";

export interface Position {
  readonly id: string;
  /** Maker → the order of its latest message that was seen; absent where none is told. */
  readonly seen?: ReadonlyMap<string, string>;
}

/** How long a publisher that is silent counts among the others, in milliseconds. */
const RECENT_MS = 10_000;
/** So many others are told at most; what was seen of further ones may come a second time. */
const MAX_OTHERS = 8;

const OTHERS = /(?:(?:~[0-9a-f-]{36})+|~)$/;

export function readPosition(text: string): Position {
  const others = OTHERS.exec(text)?.[0];
  if (others === undefined) return { id: text };
  const seen = new Map<string, string>();
  for (const id of others.split("~")) {
    const stamp = stampOf(id);
    if (stamp !== undefined) seen.set(stamp.maker, stamp.order);
  }
  return { id: text.slice(0, -others.length), seen };
}

/** Who has published lately, to write positions with. */
export class RecentMakers {
  /** The latest first. */
  readonly #recent: { stamp: Stamp; heardAt: number }[] = [];

  /**
   * Notes a message and tells its position.
   * @param stamp absent where a stranger published it, whose messages have no order.
   * @param isAlone nobody else has ever published.
   * @param now on a clock that only grows, in milliseconds.
   */
  note(id: string, stamp: Stamp | undefined, isAlone: boolean, now: number): string {
    const others = this.#recent.filter(({ stamp: { maker }, heardAt }) =>
      maker !== stamp?.maker && now - heardAt <= RECENT_MS
    );
    const told = others.slice(0, MAX_OTHERS).map(({ stamp }) => idOf(stamp));
    if (stamp !== undefined) {
      this.#recent.length = 0;
      this.#recent.push({ stamp, heardAt: now }, ...others.slice(0, MAX_OTHERS));
    }
    return isAlone ? id : `${id}~${told.join("~")}`;
  }
}
