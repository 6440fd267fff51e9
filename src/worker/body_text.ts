/** A request's body as text: inflated within a bound where it is compressed. */
import { decompress } from "../calls/wire/compression.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** @throws InflateError, TypeError when it is not UTF-8. */
export async function bodyText(
  bytes: Uint8Array,
  isCompressed: boolean,
  maxBytes: number,
): Promise<string> {
  return decoder.decode(isCompressed ? await decompress(bytes, maxBytes) : bytes);
}
