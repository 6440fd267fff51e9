/** Statuses of devices from `cox.device-status` into the store. How batches are made: store_batches.ts. */
import { getLogger } from "@logtape/logtape";
import type { Message } from "../../broker/message.ts";
import { DEVICE_STATUS_QUEUE } from "../../broker/topology.ts";
import { decodeStatus, type DeviceStatus, statusMessage } from "../../devices/device_status.ts";
import type { DeviceStore } from "../../store/device_store.ts";
import type { BatchSource } from "./store_batches.ts";

const log = getLogger(["coxswain", "recorder"]);

/** One that the store refuses is told and passed over: the next status of the device says more. */
export function deviceStatusSource(
  store: Pick<DeviceStore, "recordDevices">,
): BatchSource<DeviceStatus> {
  return {
    subject: "Statuses of devices",
    queue: DEVICE_STATUS_QUEUE.name,
    read: readStatus,
    encode: (status) => statusMessage(status).body,
    at: ({ at }) => at,
    record: async (statuses) => {
      await store.recordDevices(statuses);
      return () => {};
    },
    giveUp: (_, status, refusal) => {
      log.error("The store does not take the status of a device: {error}", {
        error: refusal,
        device: status?.device,
        change: status?.change,
        epoch: status?.epoch,
      });
      return Promise.resolve();
    },
  };
}

function readStatus({ body, routingKey }: Message): readonly DeviceStatus[] {
  const decoded = decodeStatus(body);
  if (decoded.kind === "status") return [decoded.status];
  log.warn("Passed over a status of a device that cannot be read: {reason}", {
    reason: decoded.reason,
    routingKey,
  });
  return [];
}
