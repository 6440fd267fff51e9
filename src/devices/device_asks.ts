/** What running tasks ask for: to send commands to devices. */
import { Buffer } from "node:buffer";
import type { AskHandler } from "../tasks/asks.ts";
import type { CommandEnding, DeviceCommands, DeviceLine } from "./devices.ts";

export interface DeviceAsks {
  readonly "devices.send": AskHandler<"devices.send">;
}

export function deviceAsks(devices: DeviceCommands): DeviceAsks {
  return {
    "devices.send": async ({ id, replyMs }, line) => {
      const ending = await devices.send(id, line, replyMs === undefined ? {} : { replyMs });
      switch (ending.kind) {
        case "written":
          return {};
        case "replied":
          return plainLine(ending.line);
        default:
          throw failure(ending);
      }
    },
  };
}

/** What the error is called that the task sees. */
const ERROR_NAMES = {
  "no-reply": "NoReply",
  "not-found": "UnknownDevice",
  busy: "DeviceBusy",
  refused: "BadCommand",
  lost: "DeviceLost",
  "broker-away": "BrokerAwayError",
} as const;

function failure({ kind, message }: Extract<CommandEnding, { message: string }>): Error {
  const error = new Error(message);
  error.name = ERROR_NAMES[kind];
  return error;
}

function plainLine(line: DeviceLine): { readonly text: string } | { readonly base64: string } {
  return line.kind === "text"
    ? { text: line.text }
    : { base64: Buffer.from(line.bytes).toString("base64") };
}
