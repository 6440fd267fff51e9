/** The order in which ids came, as a number: two that are equal have seen the same ids in the same order. */
export class OrderOfIds {
  #checksum = 0;

  get checksum(): number {
    return this.#checksum;
  }

  add(id: Uint8Array): void {
    this.#checksum = Bun.hash.crc32(id, this.#checksum);
  }
}
