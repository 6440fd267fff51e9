/**
 * The gateway: accepts devices, knows who is here, and tells it. It puts the parts together that the
 * other files of this folder describe; what a session does with its lines and commands is session.ts.
 */
import { getLogger } from "@logtape/logtape";
import { Deadlines } from "../async/deadlines.ts";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { DEVICES_EXCHANGE, PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { collectSoon } from "../platform/garbage.ts";
import { type TcpConnection, type TcpReader, TcpServer } from "../platform/tcp_server.ts";
import { WRITE_MS } from "./broker_commands.ts";
import { COMMAND_PREFETCH, CommandInbox } from "./command_inbox.ts";
import { DeviceAuth, type DeviceToken } from "./device_auth.ts";
import { type DeviceStatus, isLaterStatus, type OfflineReason } from "./device_status.ts";
import type { LiveDevice } from "./devices.ts";
import type { HeardConnection } from "./directory.ts";
import type { DirectoryKeeper, Holder } from "./directory_keeper.ts";
import type { Epochs } from "./epochs.ts";
import { bytesOfLine, textOfLine } from "./framing.ts";
import { HeldBindings } from "./held_bindings.ts";
import type { HeldRow } from "./held_message.ts";
import { LineOutbox } from "./line_outbox.ts";
import { RefusalLog } from "./refusal_log.ts";
import { Registry } from "./registry.ts";
import { Session, type SessionHost } from "./session.ts";
import { StatusOutbox } from "./status_outbox.ts";
import { declareStatusQueue } from "./status_queue.ts";

const log = getLogger(["coxswain", "devices"]);

/** A device that has to say who it is gets so long. */
const GREETING_MS = 10_000;
const LOOK_EVERY_MS = 1_000;
/** A process that stood still for so long does not know what happened meanwhile. */
const STALL_MS = 3_000;
/** Said again within this, that this node was taken for gone, is the same word. */
const RENEW_AGAIN_MS = 5_000;
/** After so many that came, what their coming left behind is worth a collection. */
const COLLECT_EVERY = 1_000;
/** How long the broker gets to hear that all devices are offline. */
const FAREWELL_MS = 5_000;
/** How long devices get to read why they are cut. */
const LEAVE_MS = 1_000;
const LOOK_AGAIN_MS = 20;

export interface GatewaySettings {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Who may call himself what; absent: devices are called by their addresses. */
  readonly tokens?: readonly DeviceToken[];
  readonly maxLineBytes: number;
  readonly maxConnections: number;
  readonly maxPerAddress: number;
  /** How long nothing may come of a device; 0: for ever. */
  readonly idleMs: number;
}

export interface GatewayOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly nodeStartedAt: string;
  readonly keeper: DirectoryKeeper;
  readonly epochs: Epochs;
  readonly settings: GatewaySettings;
  readonly clock?: Clock;
}

export interface GatewayStatus {
  readonly connections: number;
  readonly devices: number;
  readonly commands: number;
  /** Statuses and lines that the broker has not taken. */
  readonly waitingStatuses: number;
  readonly waitingLines: number;
  readonly lostLines: number;
}

export class DeviceGateway implements Component, SessionHost, Holder {
  readonly #options: GatewayOptions;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly writeMs = WRITE_MS;
  readonly #auth: DeviceAuth | undefined;
  readonly #registry: Registry;
  readonly #bindings: HeldBindings;
  readonly #statuses: StatusOutbox;
  readonly #lines: LineOutbox;
  readonly #inbox: CommandInbox;
  readonly #refusals: RefusalLog;
  readonly #server: TcpServer;
  #commands: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;
  #timer: Timer | undefined;
  #lookedAt = 0;
  #renewedAt = -Infinity;
  /** Set while this node hears first what happened when it could not. */
  #catchingUp: Promise<void> | undefined;
  #isStopping = false;
  #uncollected = 0;

  constructor(options: GatewayOptions) {
    const { broker, node, settings, clock = systemClock } = options;
    this.#options = options;
    this.clock = clock;
    this.deadlines = new Deadlines(clock);
    this.#auth = settings.tokens === undefined ? undefined : new DeviceAuth(settings.tokens);
    this.#registry = new Registry(settings);
    this.#bindings = new HeldBindings(clock, (id) => this.#bound(id));
    this.#statuses = new StatusOutbox(broker, clock);
    this.#lines = new LineOutbox(broker, node, clock);
    this.#refusals = new RefusalLog(clock);
    this.#inbox = new CommandInbox({
      broker,
      node,
      maxLineBytes: settings.maxLineBytes,
      clock,
      find: (id) => this.#registry.find(id),
      ready: () => this.#ready(),
    });
    const { host, port, tls } = settings;
    this.#server = new TcpServer({
      host,
      port,
      ...(tls === undefined ? {} : { tls }),
      opened: (connection) => this.#opened(connection),
      knocked: (remote) => this.#admits(remote),
      knockEnded: (remote) => this.#registry.leave(remote),
    });
  }

  get maxLineBytes(): number {
    return this.#options.settings.maxLineBytes;
  }

  /** Where devices connect: `tcp://host:port`, or `tls://`. */
  get url(): string {
    const { host, tls } = this.#options.settings;
    const scheme = tls === undefined ? "tcp" : "tls";
    return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${this.#server.port}`;
  }

  get port(): number {
    return this.#server.port;
  }

  get status(): GatewayStatus {
    return {
      connections: this.#registry.connections,
      devices: this.#registry.size,
      commands: this.#inbox.received,
      waitingStatuses: this.#statuses.size,
      waitingLines: this.#lines.size,
      lostLines: this.#lines.lost,
    };
  }

  /** @throws TcpListenError when it cannot listen. */
  async start(): Promise<void> {
    const { broker, keeper } = this.#options;
    // First, for nothing is to be undone where the port is taken; those who come wait a moment.
    await this.#server.start();
    await broker.declareExchange(DEVICES_EXCHANGE);
    await broker.declareExchange(PUBSUB_EXCHANGE);
    await declareStatusQueue(broker);
    this.#statuses.start();
    this.#lines.start();
    const queue = await broker.openPrivateQueue({
      prefix: "cox.devices.",
      prefetch: COMMAND_PREFETCH,
    });
    this.#commands = queue;
    queue.watch((name) => {
      // Commands come again before all is heard that happened meanwhile.
      if (name !== undefined) this.#catchUp();
    });
    this.#bindings.use(queue);
    keeper.serve(this);
    this.#loop = this.#inbox.run(queue);
    this.#lookedAt = this.clock.monotonic();
    this.#lookLater();
  }

  /** Ends all sessions, and tells it. Idempotent. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const { keeper } = this.#options;
    this.#server.close();
    this.#timer?.cancel();
    this.#refusals.stop();
    keeper.serve(undefined);
    this.#bindings.stop();
    const sessions = [...this.#registry.greeting(), ...this.#registry.online()];
    for (const session of sessions) session.end("node-stopped", "the gateway stops");
    const [untold] = await Promise.all([
      this.#statuses.flushed(FAREWELL_MS),
      this.#commands?.close(),
      this.#emptied(),
    ]);
    if (untold > 0) {
      log.warn("The broker did not hear of all devices that they are offline", { untold });
    }
    this.#statuses.stop();
    this.#lines.stop();
    await this.#server.stop();
    await this.#loop;
  }

  /** Resolves when all connections are closed, or after a moment. */
  async #emptied(): Promise<void> {
    const giveUpAt = this.clock.monotonic() + LEAVE_MS;
    while (this.#registry.connections > 0 && this.clock.monotonic() < giveUpAt) {
      await new Promise<void>((resolve) => void this.clock.after(LOOK_AGAIN_MS, resolve));
    }
  }

  /** A device that this node holds. */
  find(id: string): LiveDevice | undefined {
    const session = this.#registry.find(id);
    return session === undefined ? undefined : this.#liveDevice(session);
  }

  /** It is here, and commands do not reach it yet. */
  isComing(id: string): boolean {
    return this.#registry.find(id)?.isTold === false;
  }

  /** In no order. */
  list(): LiveDevice[] {
    return Array.from(this.#registry.online(), (session) => this.#liveDevice(session));
  }

  rows(): HeldRow[] {
    const rows: HeldRow[] = [];
    for (const { id, epoch, connectedAt, seenAt, address, isTold } of this.#registry.online()) {
      if (!isTold) continue;
      const row = [id, epoch, Math.floor(connectedAt), Math.floor(seenAt)] as const;
      rows.push(address === id ? [...row] : [...row, address]);
    }
    return rows;
  }

  heardElsewhere({ id, epoch, node }: HeardConnection): void {
    const session = this.#registry.find(id);
    if (session === undefined) return;
    const mine = { epoch: session.epoch, node: this.#options.node, change: "online" } as const;
    if (!isLaterStatus({ epoch, node, change: "online" }, mine)) return;
    session.end("replaced", "this device has connected elsewhere");
  }

  takenForGone(status?: DeviceStatus): void {
    const now = this.clock.monotonic();
    if (status !== undefined) {
      const session = this.#registry.find(status.device);
      if (session?.isTold !== true || session.epoch !== status.epoch) return;
      if ((status.revision ?? 0) >= session.revision) this.#renew(session, status.revision);
      return;
    }
    if (now - this.#renewedAt < RENEW_AGAIN_MS) return;
    this.#renewedAt = now;
    for (const session of this.#registry.online()) if (session.isTold) this.#renew(session);
  }

  greeted(session: Session, line: Uint8Array): void {
    const greeting = this.#auth?.judge(textOfLine(line));
    if (greeting?.kind === "known") return this.#online(session, greeting.id);
    const why = greeting?.why ?? "nobody asked";
    this.#refusals.add(why, session.remoteHost);
    session.end("closed", why);
  }

  heard(session: Session, line: Uint8Array): void {
    this.#lines.push(session, line);
  }

  ended(session: Session, reason: OfflineReason): void {
    if (this.#registry.remove(session)) this.#bindings.release(session.id);
    this.#lines.forget(session);
    if (session.id === "") return;
    log.debug("Device {device} is offline: {reason}", {
      device: session.id,
      reason,
      epoch: session.epoch,
    });
    if (session.isTold) this.#statuses.push(this.#statusOf(session, "offline", reason));
  }

  left(session: Session): void {
    this.#registry.leave(session.remoteHost);
  }

  #opened(connection: TcpConnection): TcpReader {
    if (!this.#admits(connection.host, connection)) return NOBODY;
    const session = new Session(this, connection);
    if (this.#auth === undefined) this.#online(session, session.address);
    else this.#registry.greet(session);
    return session;
  }

  #admits(remote: string, connection?: TcpConnection): boolean {
    const admission = this.#registry.enter(remote);
    if (admission.kind === "admitted") return true;
    this.#refusals.add(admission.why, remote);
    connection?.end(bytesOfLine(`error: ${admission.why}`));
    return false;
  }

  #online(session: Session, id: string): void {
    this.#uncollected += 1;
    session.id = id;
    session.epoch = this.#options.epochs.next(this.clock.now());
    const before = this.#registry.put(session);
    before?.end("replaced", "this device has connected anew");
    log.debug("Device {device} is online", { device: id, epoch: session.epoch });
    // Told when commands reach it.
    if (this.#bindings.isInPlace(id)) this.#tell(session);
    else this.#bindings.hold(id);
  }

  #bound(id: string): void {
    const session = this.#registry.find(id);
    if (session?.isTold === false) this.#tell(session);
  }

  #tell(session: Session): void {
    session.isTold = true;
    this.#statuses.push(this.#statusOf(session, "online"));
  }

  #renew(session: Session, revision = session.revision): void {
    session.revision = revision + 1;
    this.#tell(session);
  }

  #statusOf(
    session: Session,
    change: DeviceStatus["change"],
    reason?: OfflineReason,
  ): DeviceStatus {
    const { node, nodeStartedAt } = this.#options;
    const { id, epoch, revision, address, connectedAt, seenAt } = session;
    return {
      device: id,
      change,
      epoch,
      node,
      nodeStartedAt,
      address,
      at: Math.floor(this.clock.now()),
      connectedAt: Math.floor(connectedAt),
      lastSeenAt: Math.floor(seenAt),
      ...(revision === 0 ? {} : { revision }),
      ...(reason === undefined ? {} : { reason }),
    };
  }

  #liveDevice({ id, address, connectedAt, seenAt, epoch }: Session): LiveDevice {
    return {
      id,
      address,
      node: this.#options.node,
      connectedAt: new Date(connectedAt),
      lastSeenAt: new Date(seenAt),
      epoch,
    };
  }

  /** What commands have to wait for; they come before this process has noticed that it stood still. */
  #ready(): Promise<void> | undefined {
    if (this.clock.monotonic() - this.#lookedAt > STALL_MS) this.#catchUp();
    return this.#catchingUp;
  }

  #catchUp(): void {
    this.#lookedAt = this.clock.monotonic();
    const caughtUp = this.#options.keeper.caughtUp().then(() => {
      if (this.#catchingUp === caughtUp) this.#catchingUp = undefined;
    });
    this.#catchingUp = caughtUp;
  }

  #lookLater(): void {
    this.#timer = this.clock.after(LOOK_EVERY_MS, () => {
      this.#look();
      if (!this.#isStopping) this.#lookLater();
    });
  }

  /** Ends those who do not say who they are, and those of whom nothing comes. */
  #look(): void {
    this.#ready();
    this.#lookedAt = this.clock.monotonic();
    const now = this.clock.now();
    for (const session of this.#registry.greeting()) {
      if (now - session.connectedAt <= GREETING_MS) continue;
      this.#refusals.add("no first line came in time", session.remoteHost);
      session.end("closed", `the first line, "id token", did not come within ${GREETING_MS} ms`);
    }
    if (this.#uncollected >= COLLECT_EVERY) {
      this.#uncollected = 0;
      collectSoon();
    }
    const { idleMs } = this.#options.settings;
    if (idleMs === 0) return;
    for (const session of this.#registry.online()) {
      if (now - session.seenAt > idleMs) {
        session.end("idle", `nothing came within ${idleMs} ms`);
      }
    }
  }
}

/** Of a connection that was refused. */
const NOBODY: TcpReader = {
  received: () => undefined,
  drained: () => undefined,
  closed: () => undefined,
};
