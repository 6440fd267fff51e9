/** A set that counts how often each member was added: one queue may be bound several times. */
export class Tally<T> {
  readonly #counts = new Map<T, number>();
  #list: readonly T[] | undefined;

  get isEmpty(): boolean {
    return this.#counts.size === 0;
  }

  /** The members, each once. The same array until something changes. */
  get list(): readonly T[] {
    return this.#list ??= [...this.#counts.keys()];
  }

  add(member: T): void {
    this.#counts.set(member, (this.#counts.get(member) ?? 0) + 1);
    this.#list = undefined;
  }

  /** Takes back one `add`; a member that is not there is fine. */
  remove(member: T): void {
    const count = this.#counts.get(member);
    if (count === undefined) return;
    if (count === 1) this.#counts.delete(member);
    else this.#counts.set(member, count - 1);
    this.#list = undefined;
  }
}
