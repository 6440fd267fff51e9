/** The gateway's section: where devices connect, and who may. */
import { readDeviceTokens } from "../devices/device_auth.ts";
import { isLoopback } from "../platform/loopback.ts";
import type { DevicesConfig } from "./config.ts";
import type { Draft } from "./draft.ts";
import { keyPair } from "./tls_section.ts";

const DEFAULT_PORT = 8123;
/** Problems of one file that are told. */
const SHOWN_PROBLEMS = 5;

/** Undefined where no devices are wanted. */
export function devicesSection(draft: Draft): DevicesConfig | undefined {
  const { values } = draft;
  const { deviceHost: host, devicePort: port, deviceConnections: maxConnections } = values;
  if (port === "off") return undefined;
  if (!isLoopback(host) && values.deviceAuth === undefined && !values.insecure) {
    draft.refuse(
      ["deviceHost", "deviceAuth"],
      `--device-host ${host} lets devices of other machines in: ` +
        "give --device-auth, or --insecure if that is wanted",
    );
  }
  const tokens = tokensOf(draft);
  const tls = keyPair(draft, "deviceTlsCert", "deviceTlsKey");
  return {
    host: host.replace(/^\[|\]$/g, ""),
    port: port ?? DEFAULT_PORT,
    isPortGiven: port !== undefined,
    ...(tokens === undefined ? {} : { tokens }),
    ...(tls === undefined ? {} : { tls }),
    maxLineBytes: values.deviceMaxLine,
    maxConnections,
    maxPerAddress: values.deviceConnectionsPerAddress ?? maxConnections,
    idleMs: values.deviceIdle,
  };
}

function tokensOf(draft: Draft): DevicesConfig["tokens"] {
  const path = draft.values.deviceAuth;
  const text = draft.readFile("deviceAuth", path);
  if (text === undefined) return undefined;
  const read = readDeviceTokens(text);
  if (read.kind === "tokens") return read.tokens;
  const { problems } = read;
  const more = problems.length > SHOWN_PROBLEMS ? `; ${problems.length - SHOWN_PROBLEMS} more` : "";
  const shown = problems.slice(0, SHOWN_PROBLEMS).join("; ");
  draft.refuseValue("deviceAuth", path, `cannot be used: ${shown}${more}`);
  return undefined;
}
