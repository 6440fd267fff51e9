/**
 * The devices of the whole cluster, as HTTP, the command line and tasks see them: who is connected,
 * and how one is commanded. No part of it needs to be on the node that holds the device.
 */

/** A device that is connected to one of the nodes now. */
export interface LiveDevice {
  readonly id: string;
  /** Its remote address, `host:port`. */
  readonly address: string;
  /** The node that holds it. */
  readonly node: string;
  readonly connectedAt: Date;
  /** When something was heard of it last; of another node's devices some seconds late. */
  readonly lastSeenAt: Date;
  /** Names the connection; see `DeviceStatus`. */
  readonly epoch: number;
}

export interface DeviceList {
  /** Sorted by id. */
  list(): readonly LiveDevice[];
  find(id: string): LiveDevice | undefined;
}

export interface SendOptions {
  /**
   * Wait for the next line of the device, up to so many milliseconds after the command was written.
   * Default: written is enough.
   */
  readonly replyMs?: number;
  /** Ends the waiting: a command that was not written yet never is. */
  readonly signal?: AbortSignal;
}

/** A line without its end; `bytes` where it is not UTF-8. */
export type DeviceLine =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

/** How a command ended. */
export type CommandEnding =
  /** It was handed to the connection of the device. */
  | { readonly kind: "written"; readonly node: string }
  /** The device's next line. */
  | { readonly kind: "replied"; readonly node: string; readonly line: DeviceLine }
  /** It was written, and the device said nothing in time. */
  | { readonly kind: "no-reply"; readonly node: string; readonly message: string }
  /** Nobody holds the device: nothing was written. */
  | { readonly kind: "not-found"; readonly message: string }
  /** The device does not take what was sent before, or too many commands wait: nothing was written. */
  | { readonly kind: "busy"; readonly message: string }
  /** The text cannot be sent: nothing was written. */
  | { readonly kind: "refused"; readonly message: string }
  /** The device or its node went while the command was under way: it may have been written. */
  | { readonly kind: "lost"; readonly message: string }
  /** The broker is away: nothing was written. */
  | { readonly kind: "broker-away"; readonly message: string };

export interface DeviceCommands {
  /**
   * Sends one line to a device, whichever node holds it. Commands of one sender to one device are
   * written in their order, one after the other has ended.
   * @param cmd the line, without its end.
   * @returns how it ended; never rejects for what a client is to be told.
   * @throws the signal's reason when it aborts first.
   */
  send(id: string, cmd: string, options?: SendOptions): Promise<CommandEnding>;
}

export interface Devices extends DeviceList, DeviceCommands {}
