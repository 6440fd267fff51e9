/**
 * Makes the epochs that name connections: a hybrid logical clock (Kulkarni et al., "Logical Physical
 * Clocks", 2014). Each is greater than all that this node has made or heard of, so that a device which
 * moves to a node with a clock that is late still gets a later epoch there. Close to the time otherwise.
 */
export class Epochs {
  #last = 0;

  /** @param now epoch milliseconds. */
  next(now: number): number {
    return this.#last = Math.max(this.#last + 1, Math.floor(now));
  }

  /** Somebody has made this one. */
  heard(epoch: number): void {
    if (epoch > this.#last) this.#last = epoch;
  }
}
