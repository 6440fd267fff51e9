/** Message bodies that anybody may have published: what fits a shape, and nothing for all the rest. */
import * as v from "valibot";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Undefined where the body is not JSON in UTF-8, or does not fit. */
export function readJsonBody<S extends v.GenericSchema>(
  shape: S,
  body: Uint8Array,
): v.InferOutput<S> | undefined {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(body));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
  const read = v.safeParse(shape, json);
  return read.success ? read.output : undefined;
}
