/** The errors of the store port, the same from every adapter. None carries a password. */

/** The store cannot be reached now, or not written to; what failed may be tried again later. */
export class StoreAwayError extends Error {
  override readonly name = "StoreAwayError";
}

/** The store answered, and trying again cannot help until somebody changes something. */
export class StoreRefusedError extends Error {
  override readonly name = "StoreRefusedError";
}
