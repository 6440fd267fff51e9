/** `POST /devices/{id}/commands`: sends a line to a device, whichever node holds it. */
import { Buffer } from "node:buffer";
import type { Context, Hono } from "hono";
import * as v from "valibot";
import { Duration } from "../../calls/option_values.ts";
import type { CommandEnding, DeviceCommands, DeviceLine } from "../../devices/devices.ts";
import { bad, decodeText, readBytes, readJson } from "../body.ts";
import { type AppEnv, type Fail, patiently } from "../exchange.ts";
import { readOptions } from "../pages.ts";
import { type Problem, type ProblemName, shortened } from "../problems.ts";
import { deviceId } from "./devices.ts";

export interface DeviceCommandRoutes {
  readonly devices: DeviceCommands;
  readonly maxBodyBytes: number;
  readonly fail: Fail;
}

/** Meanwhile nobody else's command reaches the device. */
const MAX_REPLY_MS = 5 * 60_000;
const REPLY = "expected a duration above zero and up to 5m, such as 500ms, 3s or 2m";
const Query = v.object({
  reply: v.exactOptional(v.pipe(Duration, v.maxValue(MAX_REPLY_MS, REPLY))),
});

const BODY = 'expected a JSON object with a text and nothing else, such as {"cmd": "recalibrate"}';
const Body = v.strictObject({ cmd: v.string() });

/**
 * Body `{cmd}`, a text of one line. Answered 200 when the line was handed to the device's connection,
 * `{id, node}`; with `?reply=2s` when the device has sent its next line, which stands in `reply` (bytes
 * that are not UTF-8 as `{base64}`). 404 at once where nobody holds the device, 409 where it is busy and
 * nothing was written, 502 where it went meanwhile, 503 while the broker is away, 504 without a reply.
 */
export function addDeviceCommandsRoute(app: Hono<AppEnv>, routes: DeviceCommandRoutes): void {
  const { devices, maxBodyBytes, fail } = routes;

  app.post("/devices/:id/commands", async (c: Context<AppEnv>) => {
    const request = c.req.raw;
    const id = deviceId(c, "/commands");
    if ("problem" in id) return fail(id.problem);
    const query = readOptions(Query, request.url, ["reply"]);
    if ("problem" in query) return fail(query.problem);
    const bytes = await readBytes(request, maxBodyBytes);
    if ("problem" in bytes) return fail(bytes.problem);
    const text = decodeText(bytes.value);
    if ("problem" in text) return fail(text.problem);
    const json = readJson(text.value, (given): unknown => JSON.parse(given));
    if ("problem" in json) return fail(json.problem);
    const body = v.safeParse(Body, json.value);
    if (!body.success) return fail(bad(`The body is no command: ${BODY}`));
    const { reply: replyMs } = query.value;
    const { signal } = request;
    const sent = devices.send(id.value, body.output.cmd, {
      signal,
      ...(replyMs === undefined ? {} : { replyMs }),
    }).catch((error: unknown): undefined => {
      // Its client is gone, and nobody reads the answer.
      if (!signal.aborted) throw error;
    });
    const ending = await patiently(c, sent);
    if (ending === undefined) return fail({ name: "cancelled", detail: "Its client went away" });
    switch (ending.kind) {
      case "written":
        return Response.json({ id: id.value, node: ending.node });
      case "replied":
        return Response.json({ id: id.value, node: ending.node, reply: replyOf(ending.line) });
      default:
        return fail(endingProblem(id.value, ending));
    }
  });
}

function replyOf(line: DeviceLine): string | { readonly base64: string } {
  return line.kind === "text" ? line.text : { base64: Buffer.from(line.bytes).toString("base64") };
}

type Failure = Extract<CommandEnding, { readonly message: string }>;

const PROBLEM_OF: Readonly<Record<Failure["kind"], ProblemName>> = {
  "no-reply": "no-reply",
  "not-found": "unknown-device",
  busy: "device-busy",
  refused: "refused",
  lost: "device-lost",
  "broker-away": "broker-away",
};

function endingProblem(id: string, { kind, message }: Failure): Problem {
  return {
    name: PROBLEM_OF[kind],
    detail: message,
    ...(kind === "broker-away" ? {} : { members: { device: shortened(id) } }),
  };
}
