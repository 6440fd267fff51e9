/** Bodies on the wire: compressed when they are large, inflated within a bound. */
import { promisify } from "node:util";
import { constants, deflate, inflate } from "node:zlib";

const deflateAsync = promisify<Uint8Array, { level: number }, Uint8Array>(deflate);
const inflateAsync = promisify<Uint8Array, { maxOutputLength: number }, Uint8Array>(inflate);

/** The body would inflate to more than is allowed, or is not what its header says. */
export class InflateError extends Error {
  override readonly name = "InflateError";
}

/** A zlib stream, as Celery's `application/x-gzip` is; off the main thread. */
export function compress(body: Uint8Array): Promise<Uint8Array> {
  return deflateAsync(body, { level: constants.Z_BEST_SPEED });
}

/**
 * @param limitBytes most bytes that the result may have.
 * @throws InflateError when it would have more, or the bytes are not a zlib stream.
 */
export async function decompress(body: Uint8Array, limitBytes: number): Promise<Uint8Array> {
  try {
    return await inflateAsync(body, { maxOutputLength: limitBytes });
  } catch (cause) {
    const isTooLarge = cause instanceof Error && "code" in cause &&
      cause.code === "ERR_BUFFER_TOO_LARGE";
    throw new InflateError(
      isTooLarge
        ? `Cannot inflate the body: it is larger than ${limitBytes} bytes`
        : "Cannot inflate the body: it is not the zlib stream that its compression header names",
      { cause },
    );
  }
}
