/** Devices as the nodes of a broker tell of them, past any front: those that are connected. */
import type { DevicesCommandConfig } from "../config/config.ts";
import type { CommandEnding, Devices, LiveDevice } from "../devices/devices.ts";
import type { DevicePageText, DeviceSource } from "./devices_command.ts";
import { EXIT } from "./exit_code.ts";
import { StartupError } from "./startup_error.ts";

const EXIT_OF_ENDING: Readonly<Record<CommandEnding["kind"], number>> = {
  written: EXIT.well,
  replied: EXIT.well,
  "no-reply": EXIT.timedOutOrExpired,
  "not-found": EXIT.wrongUsage,
  refused: EXIT.wrongUsage,
  busy: EXIT.failed,
  lost: EXIT.failed,
  "broker-away": EXIT.noBroker,
};

export function brokerDevices(devices: Devices): DeviceSource {
  return {
    devices: ({ state, limit, cursor = "" }) => {
      if (state !== "online") return Promise.reject(noRecords(state));
      const found = devices.list().filter(({ id }) => id > cursor);
      return Promise.resolve(pageOf(found, limit));
    },
    device: (id) => {
      const device = devices.find(id);
      return device === undefined
        ? Promise.reject(new StartupError(`No node on the broker holds a device "${id}" now`))
        : Promise.resolve(JSON.stringify({ ...shown(device), state: "online" }));
    },
    sendToDevice: async (id, line, replyMs) =>
      sentText(id, await devices.send(id, line, replyMs === undefined ? {} : { replyMs })),
  };
}

/** The id of its last device is where the next page begins. */
function pageOf(found: readonly LiveDevice[], limit: number): DevicePageText {
  const page = found.slice(0, limit);
  const last = page.at(-1);
  return {
    text: JSON.stringify(page.map(shown)),
    ...(found.length > limit && last !== undefined ? { next: last.id } : {}),
  };
}

function shown({ id, address, node, connectedAt, lastSeenAt }: LiveDevice): object {
  return { id, address, node, connectedAt, lastSeenAt };
}

/** As `POST /devices/{id}/commands` answers it. */
function sentText(id: string, ending: CommandEnding): string {
  switch (ending.kind) {
    case "written":
      return JSON.stringify({ id, node: ending.node });
    case "replied": {
      const { node, line } = ending;
      const reply = line.kind === "text"
        ? line.text
        : { base64: Buffer.from(line.bytes).toString("base64") };
      return JSON.stringify({ id, node, reply });
    }
    case "no-reply":
    case "not-found":
    case "busy":
    case "refused":
    case "lost":
    case "broker-away":
      throw new StartupError(ending.message, { exitCode: EXIT_OF_ENDING[ending.kind] });
  }
}

function noRecords(state: DevicesCommandConfig["filter"]["state"]): StartupError {
  return new StartupError(
    `Nodes on a broker know the devices that are online, not those that are ${state}: ` +
      "ask a front that keeps records, with --url",
  );
}
