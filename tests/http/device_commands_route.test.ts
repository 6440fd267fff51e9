/** `POST /devices/{id}/commands`: what is sent, and what each ending becomes. */
import { describe, expect, test } from "bun:test";
import type { CommandEnding, DeviceCommands, SendOptions } from "../../src/devices/devices.ts";
import { front, problemOf } from "./front.ts";

interface Sent {
  readonly id: string;
  readonly cmd: string;
  readonly options: SendOptions | undefined;
}

/** Ends all commands in one way. */
class Ending implements DeviceCommands {
  readonly sent: Sent[] = [];
  readonly #ending: CommandEnding;
  constructor(ending: CommandEnding) {
    this.#ending = ending;
  }
  send(id: string, cmd: string, options?: SendOptions): Promise<CommandEnding> {
    this.sent.push({ id, cmd, options });
    return Promise.resolve(this.#ending);
  }
}

const WRITTEN: CommandEnding = { kind: "written", node: "a" };

async function post(path: string, body: string, ending: CommandEnding = WRITTEN) {
  const commands = new Ending(ending);
  const devices = { list: () => [], find: () => undefined };
  const { app } = front({ devices, deviceCommands: commands });
  const response = await app.request(path, { method: "POST", body });
  return { response, sent: commands.sent };
}

const CMD = JSON.stringify({ cmd: "recalibrate" });

describe("POST /devices/{id}/commands", () => {
  test("sends the text to the device of the path", async () => {
    const { response, sent } = await post("/devices/127.0.0.1:50312/commands", CMD);
    expect(sent).toEqual([{
      id: "127.0.0.1:50312",
      cmd: "recalibrate",
      options: { signal: expect.any(AbortSignal) },
    }]);
    expect([response.status, await response.json()]).toEqual([
      200,
      { id: "127.0.0.1:50312", node: "a" },
    ]);
    const encoded = await post("/devices/a%2Fb%3Fc/commands?reply=2s", CMD);
    expect(encoded.sent).toEqual([
      {
        id: "a/b?c",
        cmd: "recalibrate",
        options: { replyMs: 2_000, signal: expect.any(AbortSignal) },
      },
    ]);
  });

  test("a reply is a text, or bytes in base64", async () => {
    const text = { kind: "text", text: "21.5 °C" } as const;
    const told = await post("/devices/d/commands?reply=2s", CMD, {
      kind: "replied",
      node: "a",
      line: text,
    });
    expect(await told.response.json()).toEqual({ id: "d", node: "a", reply: "21.5 °C" });
    const bytes = { kind: "bytes", bytes: Uint8Array.of(0xff, 0) } as const;
    const other = await post("/devices/d/commands?reply=2s", CMD, {
      kind: "replied",
      node: "a",
      line: bytes,
    });
    expect(await other.response.json()).toMatchObject({ reply: { base64: "/wA=" } });
  });

  test.each(
    [
      ["not-found", 404, "unknown-device"],
      ["busy", 409, "device-busy"],
      ["refused", 400, "refused"],
      ["lost", 502, "device-lost"],
      ["broker-away", 503, "broker-away"],
    ] as const,
  )("%s is %d %s", async (kind, status, type) => {
    const { response } = await post("/devices/d/commands", CMD, { kind, message: "why" });
    expect(response.headers.has("retry-after")).toBe(status === 503);
    expect(response.status).toBe(status);
    expect(await problemOf(response)).toMatchObject({
      type: `/problems/${type}`,
      detail: "why",
    });
  });

  test("without a reply in time it is 504", async () => {
    const ending = { kind: "no-reply", node: "a", message: "why" } as const;
    const { response } = await post("/devices/d/commands?reply=1s", CMD, ending);
    expect(response.status).toBe(504);
    expect(await problemOf(response)).toMatchObject({ type: "/problems/no-reply" });
  });

  test.each([
    ["/devices/d/commands", ""],
    ["/devices/d/commands", "["],
    ["/devices/d/commands", '"recalibrate"'],
    ["/devices/d/commands", "{}"],
    ["/devices/d/commands", '{"cmd":7}'],
    ["/devices/d/commands", '{"cmd":"x","rply":"2s"}'],
    ["/devices/d/commands?reply=2", CMD],
    ["/devices/d/commands?reply=6m", CMD],
    ["/devices/d/commands?wait=2s", CMD],
    ["/devices/%ff/commands", CMD],
  ])("%s with %j is 400, and nothing is sent", async (path, body) => {
    const { response, sent } = await post(path, body);
    expect(response.status).toBe(400);
    expect(sent).toEqual([]);
  });

  test("a body that is too large is 413", async () => {
    const { response } = await post(
      "/devices/d/commands",
      JSON.stringify({ cmd: "x".repeat(2_000) }),
    );
    expect(response.status).toBe(413);
  });
});
