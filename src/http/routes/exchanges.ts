/** `POST /exchanges/{exchange}`: publishes the body as one message, and declares the exchange if asked. */
import type { Context, Hono } from "hono";
import type { DeclareEnding, Exchanges, PublishEnding } from "../../messages/exchanges.ts";
import { readBytes } from "../body.ts";
import { addNameless, type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import type { Problem, ProblemName } from "../problems.ts";
import { messageType, readPublishQuery } from "../publish_options.ts";
import { forwardedHeaders } from "../task_headers.ts";

export interface ExchangeRoutes {
  readonly exchanges: Exchanges;
  readonly maxBodyBytes: number;
  readonly fail: Fail;
}

const PREFIX = "/exchanges/";

/**
 * Query: `key` (routing key), `persistent` (default true), `header=NAME:VALUE` (repeatable), `type`
 * (declares the exchange first) with `durable` (default true), `wait` (default true: answered when the
 * broker has taken the message). The headers of the message are the request's `x-*` and trace headers
 * and those of the query. Answers 200 with `isRouted`, or 202 where nobody waited.
 */
export function addExchangesRoute(app: Hono<AppEnv>, routes: ExchangeRoutes): void {
  const { exchanges, maxBodyBytes, fail } = routes;

  const publish = async (c: Context<AppEnv>): Promise<Response> => {
    const request = c.req.raw;
    const exchange = segment(c.req.path.slice(PREFIX.length));
    if ("problem" in exchange) return fail(exchange.problem);
    const query = readPublishQuery(request.url);
    if ("problem" in query) return fail(query.problem);
    const body = await readBytes(request, maxBodyBytes);
    if ("problem" in body) return fail(body.problem);
    const contentType = messageType(request.headers.get("content-type"), body.value);
    if ("problem" in contentType) return fail(contentType.problem);

    const name = exchange.value;
    const { key, isPersistent, isAwaited, declares, headers } = query.value;
    if (declares !== undefined) {
      const declared = exchanges.declare(name, declares.type, declares.isDurable);
      const ending = await patiently(c, declared);
      if (ending.kind !== "declared") return fail(endingProblem(name, ending));
    }
    const message = {
      exchange: name,
      key,
      body: body.value,
      contentType: contentType.value,
      headers: { ...forwardedHeaders(request.headers), ...headers },
      persistent: isPersistent,
    };
    const ending = await patiently(c, exchanges.publish(message, { isAwaited }));
    if (ending.kind !== "published") return fail(endingProblem(name, ending));
    const { isRouted } = ending;
    return Response.json(
      { exchange: name, key, ...(isRouted === undefined ? {} : { isRouted }) },
      { status: isAwaited ? 200 : 202 },
    );
  };
  app.post("/exchanges/:exchange", publish);
  addNameless(app, "/exchanges", publish);
  addNameless(app, "/exchanges/", publish);
}

type Failure = Exclude<PublishEnding | DeclareEnding, { kind: "published" | "declared" }>;

const PROBLEM_OF: Readonly<Record<Failure["kind"], ProblemName>> = {
  bad_name: "reserved-name",
  unknown_exchange: "unknown-exchange",
  mismatch: "exchange-differs",
  refused: "refused",
  broker_away: "broker-away",
};

function endingProblem(exchange: string, { kind, message }: Failure): Problem {
  return { name: PROBLEM_OF[kind], detail: message, members: { exchange } };
}
