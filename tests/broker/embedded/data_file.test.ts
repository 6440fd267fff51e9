/** One process at a time, whatever became of the one before; and files that are no broker's. */
import { describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BrokerAwayError, BrokerRefusedError } from "../../../src/broker/errors.ts";
import { openEmbeddedBroker } from "../../../src/broker/embedded/embedded_broker.ts";
import { errorOf, toQueue, within } from "../../conformance/broker/scene.ts";
import { DataFolder } from "./data_folder.ts";

/** A process that has the broker of a folder open until it is killed. */
async function holder(dataDir: string): Promise<{ kill(): Promise<void> }> {
  const child = spawn(process.execPath, [join(import.meta.dir, "holding_process.ts"), dataDir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  await within(
    new Promise((resolve, reject) => {
      child.stdout.once("data", resolve);
      child.once("exit", (code) => reject(new Error(`The holder ended with ${code}`)));
    }),
    "the holder to open the folder",
  );
  return {
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

describe("the data folder", () => {
  test("is refused while another process has it, and free once that is killed", async () => {
    await using folder = new DataFolder();
    const other = await holder(folder.path);
    const error = await errorOf(folder.broker().start());
    expect(error).toBeInstanceOf(BrokerRefusedError);
    expect(error.message).toContain(folder.path);
    expect(error.message).toContain("another process");
    expect(error.message).toContain("--data");
    await other.kill();

    const broker = await folder.connect();
    expect((await broker.inspectQueue("held"))?.messages).toBe(1);
  }, 30_000);

  test("stays locked for others while this process has it, also after a refusal here", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect();
    expect(await errorOf(folder.broker().start())).toBeInstanceOf(BrokerRefusedError);
    expect((await errorOf(holder(folder.path))).message).toContain("ended with 3");
    await broker.declareQueue({ name: "q" });
    await broker.publish(toQueue("q", "x", { persistent: true }), { confirm: true });
  }, 30_000);

  test("is made for its owner alone", async () => {
    await using folder = new DataFolder();
    await folder.connect();
    expect(statSync(folder.path).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder.path, "broker.sqlite")).mode & 0o777).toBe(0o600);
  });

  test("is refused where a file is in its way, or the file is no database", async () => {
    await using folder = new DataFolder();
    writeFileSync(folder.path, "a file");
    const inTheWay = await errorOf(folder.broker().start());
    expect(inTheWay).toBeInstanceOf(BrokerRefusedError);
    expect(inTheWay.message).toContain(folder.path);

    const dataDir = join(folder.root, "other");
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "broker.sqlite"), "this is no database at all, ".repeat(100));
    const noDatabase = await errorOf(folder.broker({ dataDir }).start());
    expect(noDatabase).toBeInstanceOf(BrokerRefusedError);
    expect(noDatabase.message).toContain("broker.sqlite");
  });

  test("is refused where it cannot be written", async () => {
    await using folder = new DataFolder();
    const dataDir = join("/proc", "coxswain");
    const error = await errorOf(folder.broker({ dataDir }).start());
    expect(error).toBeInstanceOf(BrokerRefusedError);
    expect(error.message).toContain(dataDir);
  });

  test("is refused where a newer program wrote it", async () => {
    await using folder = new DataFolder();
    mkdirSync(folder.path);
    chmodSync(folder.path, 0o700);
    const database = new DatabaseSync(join(folder.path, "broker.sqlite"));
    database.exec("PRAGMA user_version = 99");
    database.close();
    const error = await errorOf(folder.broker().start());
    expect(error).toBeInstanceOf(BrokerRefusedError);
    expect(error.message).toContain("format 99");
  });

  test("is refused where its tables are not a broker's", async () => {
    await using folder = new DataFolder();
    mkdirSync(folder.path);
    const path = join(folder.path, "broker.sqlite");
    const database = new DatabaseSync(path);
    database.exec("PRAGMA user_version = 1; CREATE TABLE messages (x)");
    database.close();
    expect(await errorOf(folder.broker().start())).toBeInstanceOf(BrokerRefusedError);
    // It was let go: somebody else may look into it.
    const again = new DatabaseSync(path);
    expect(again.prepare("SELECT count(*) AS n FROM messages").get()).toMatchObject({ n: 0 });
    again.close();
  });
});

describe("EmbeddedBroker", () => {
  test("start() after stop() rejects with BrokerAwayError, for its connections too", async () => {
    await using folder = new DataFolder();
    const broker = folder.broker();
    const connection = broker.connect();
    await broker.start();
    await broker.start();
    await broker.stop();
    await broker.stop();
    expect(await errorOf(broker.start())).toBeInstanceOf(BrokerAwayError);
    expect(await errorOf(connection.start())).toBeInstanceOf(BrokerAwayError);
  });

  test("stop() stops its connections", async () => {
    await using folder = new DataFolder();
    const broker = folder.broker();
    const connection = broker.connect();
    await connection.start();
    await broker.stop();
    expect(connection.state.kind).toBe("stopped");
  });

  test("openEmbeddedBroker() lets go of the folder when it stops", async () => {
    await using folder = new DataFolder();
    for (let round = 0; round < 2; round++) {
      const broker = openEmbeddedBroker({ dataDir: folder.path });
      await broker.start();
      await broker.declareQueue({ name: "q" });
      await broker.stop();
    }
  });
});
