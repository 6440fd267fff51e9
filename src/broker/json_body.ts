/** Message bodies that anybody may have published: what fits a shape, and nothing for all the rest. */
import * as v from "valibot";

const decoder = new TextDecoder();

/** Undefined where the body is not JSON, or does not fit. */
export function readJsonBody<T>(
  shape: v.BaseSchema<unknown, T, v.BaseIssue<unknown>>,
  body: Uint8Array,
): T | undefined {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(body));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const read = v.safeParse(shape, json);
  return read.success ? read.output : undefined;
}
