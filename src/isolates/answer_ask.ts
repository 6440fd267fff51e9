/** A question of an isolate becomes its answer: the handler of its name, or why there is none. */
import type { AskHandler, AskHandlers, AskName } from "../tasks/asks.ts";
import { describeFailure } from "../tasks/failure.ts";
import type { Answer, Ask } from "./protocol.ts";

/** Never rejects: a refusal is an answer too. */
export async function answerAsk(handlers: AskHandlers, ask: Ask): Promise<Answer> {
  const handler = find(handlers, ask.what);
  if (handler === undefined) {
    return {
      failure: {
        type: "Error",
        message: `Cannot ask for ${ask.what}: this node has nobody who knows`,
      },
    };
  }
  try {
    const answer = await handler(ask.request, ask.text, ask.origin);
    return { json: JSON.stringify(answer ?? null) };
  } catch (error) {
    const { type, message } = describeFailure(error);
    return { failure: { type, message } };
  }
}

/** Both ends are this same program: a question of this name carries what its handler takes. */
type AnyHandler = (request: unknown, ...rest: RestOf<AskHandler<AskName>>) => Promise<unknown>;
type RestOf<F> = F extends (request: never, ...rest: infer Rest) => unknown ? Rest : never;

function find(handlers: AskHandlers, what: string): AnyHandler | undefined {
  return Object.hasOwn(handlers, what)
    ? handlers[what as AskName] as AnyHandler | undefined
    : undefined;
}
