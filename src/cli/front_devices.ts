/** Devices as a front tells of them over HTTP. */
import { formatDuration } from "../lifecycle/duration.ts";
import type { DevicesCommandConfig } from "../config/config.ts";
import type { DevicePageText, DeviceSource } from "./devices_command.ts";
import { EXIT } from "./exit_code.ts";
import type { FrontClient } from "./front_client.ts";
import { StartupError } from "./startup_error.ts";
import { isRecord } from "./table.ts";

/** How a command ends for reasons of the device, by the last part of a problem's type. */
const EXIT_OF_PROBLEM: Readonly<Record<string, number>> = {
  "unknown-device": EXIT.wrongUsage,
  "device-lost": EXIT.failed,
  "device-busy": EXIT.failed,
  "no-reply": EXIT.timedOutOrExpired,
};

export class FrontDevices implements DeviceSource {
  readonly #front: Pick<FrontClient, "request">;
  readonly #url: string;

  constructor(front: Pick<FrontClient, "request">, url: string) {
    this.#front = front;
    this.#url = url;
  }

  async devices({ state, limit, cursor }: DevicesCommandConfig["filter"]): Promise<DevicePageText> {
    const query = new URLSearchParams({
      ...(state === "online" ? {} : { state }),
      limit: `${limit}`,
      ...(cursor === undefined ? {} : { cursor }),
    });
    const response = await this.#front.request(`/devices?${query}`);
    const text = await this.#textOf(response);
    const link = response.headers.get("link") ?? "";
    const next = /[?&]cursor=([^&>]+)[^>]*>; rel="next"/.exec(link)?.[1];
    return { text, ...(next === undefined ? {} : { next: decodeURIComponent(next) }) };
  }

  async device(id: string): Promise<string> {
    return await this.#textOf(await this.#front.request(`/devices/${encodeURIComponent(id)}`));
  }

  async sendToDevice(id: string, line: string, replyMs: number | undefined): Promise<string> {
    const query = replyMs === undefined ? "" : `?reply=${formatDuration(replyMs)}`;
    const path = `/devices/${encodeURIComponent(id)}/commands${query}`;
    return await this.#textOf(
      await this.#front.request(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ cmd: line }),
      }),
    );
  }

  async #textOf(response: Response): Promise<string> {
    const text = await response.text();
    if (response.ok) return text;
    const { type, detail } = problemMembers(text);
    const name = typeof type === "string" ? type.split("/").at(-1) ?? "" : "";
    const told = typeof detail === "string" ? detail : text.slice(0, 200);
    const exitCode = EXIT_OF_PROBLEM[name];
    if (exitCode !== undefined) throw new StartupError(told, { exitCode });
    throw new StartupError(`The front at ${this.#url} refused: ${told}`, {
      exitCode: response.status >= 500 ? EXIT.noBroker : EXIT.wrongUsage,
    });
  }
}

function problemMembers(text: string): Readonly<Record<string, unknown>> {
  try {
    const problem: unknown = JSON.parse(text);
    return isRecord(problem) ? problem : {};
  } catch (error) {
    // Not a front's answer; its beginning is shown instead.
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}
