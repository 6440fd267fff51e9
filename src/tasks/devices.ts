/** `devices`: commands to devices that are connected to a node, from inside a task. */
import { Buffer } from "node:buffer";
import { parseDuration } from "../lifecycle/duration.ts";
import type { Duration } from "./options.ts";
import { currentAttempt } from "./running_attempt.ts";

/** What the device is kept busy for at most. */
const MAX_REPLY_MS = 5 * 60_000;

export interface SendOptions {
  /**
   * Wait for the device's next line so long after the command was written, such as "2s", at most "5m".
   * Meanwhile nobody else's command reaches the device.
   */
  readonly reply?: Duration;
}

export interface Devices {
  /**
   * Sends one line to a device, whichever node it is connected to. Commands of one task are written in
   * their order.
   * @param id what the device is called: the id that it gave, or its address where nobody asks for one.
   * @param line without its end, at most 4 KiB unless the node that holds it was told otherwise.
   * @throws Error named "UnknownDevice" (nobody holds it), "DeviceBusy" (nothing was written), "BadCommand",
   *   "DeviceLost" (it may have been written) or "BrokerAwayError".
   */
  send(id: string, line: string, options?: { readonly reply?: undefined }): Promise<void>;
  /**
   * Sends one line and waits for the next one that the device sends.
   * @returns that line, without its end; bytes where it is not UTF-8.
   * @throws Error named "NoReply" besides, when it sent none in time: the command was written.
   *
   * @example
   * const answer = await devices.send("kiln-7", "temperature?", { reply: "2s" });
   */
  send(
    id: string,
    line: string,
    options: { readonly reply: Duration },
  ): Promise<string | Uint8Array>;
}

async function send(id: string, line: string, options: SendOptions = {}) {
  const attempt = currentAttempt();
  if (attempt === undefined) {
    throw new Error(`Cannot send to device ${JSON.stringify(id)}: no task is running here`);
  }
  const { reply } = options;
  const request = {
    id: String(id),
    ...(reply === undefined ? {} : { replyMs: parseDuration(String(reply), MAX_REPLY_MS) }),
  };
  const { text, base64 } = await attempt.services.ask(
    "devices.send",
    request,
    String(line),
    attempt.facts,
  );
  if (reply === undefined) return;
  return base64 === undefined ? text ?? "" : new Uint8Array(Buffer.from(base64, "base64"));
}

// What the overloads promise follows from what was asked.
export const devices: Devices = { send: send as Devices["send"] };
