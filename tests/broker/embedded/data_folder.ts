/** A data folder of its own for a test, and what a power failure would leave of it. */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Broker } from "../../../src/broker/broker.ts";
import {
  EmbeddedBroker,
  type EmbeddedBrokerOptions,
} from "../../../src/broker/embedded/embedded_broker.ts";

/** All that SQLite keeps; the third one is only for those who share the file. */
const FILES = ["broker.sqlite", "broker.sqlite-wal"];

export class DataFolder implements AsyncDisposable {
  readonly root = mkdtempSync(join(tmpdir(), "cox-broker-"));
  /** Not created yet. */
  readonly path = join(this.root, "data");
  readonly #brokers: EmbeddedBroker[] = [];

  broker(options: Partial<EmbeddedBrokerOptions> = {}): EmbeddedBroker {
    const broker = new EmbeddedBroker({ dataDir: this.path, ...options });
    this.#brokers.push(broker);
    return broker;
  }

  /** A started connection to a new broker on this folder. */
  async connect(options: Partial<EmbeddedBrokerOptions> = {}): Promise<Broker> {
    const broker = this.broker(options).connect();
    await broker.start();
    return broker;
  }

  /** A folder that holds what was committed until now, as a crash at this moment would leave it. */
  crashCopy(): string {
    const copy = join(this.root, crypto.randomUUID());
    mkdirSync(copy);
    for (const file of FILES) {
      if (existsSync(join(this.path, file))) {
        copyFileSync(join(this.path, file), join(copy, file));
      }
    }
    return copy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.#brokers) await broker.stop();
    rmSync(this.root, { recursive: true });
  }
}
