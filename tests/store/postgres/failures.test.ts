import { afterAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { inspect } from "node:util";
import fc from "fast-check";
import {
  type Postgres,
  sharedPostgres,
  startPostgres,
} from "../../../scripts/services/postgres.ts";
import type { Job } from "../../../src/jobs/job.ts";
import type { JobEvent } from "../../../src/jobs/job_event.ts";
import { applyEvent } from "../../../src/jobs/states.ts";
import { newId } from "../../../src/platform/ids.ts";
import { StoreAwayError, StoreRefusedError } from "../../../src/store/errors.ts";
import { PostgresStore } from "../../../src/store/postgres/postgres_store.ts";
import { rejection } from "../../conformance/store/life.ts";
import { disorderly, Life, lives } from "../../jobs/job_lives.ts";
import { Authority } from "../../support/certificates.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";
import { timed, until } from "../../support/waiting.ts";
import { makeDatabase } from "./databases.ts";

/** A server that may be stopped: no other file uses it. */
let own: Promise<Postgres> | undefined;
const ownPostgres = () => own ??= startPostgres();
afterAll(async () => (await own)?.dispose());

/** An error while the server is away must come soon: the limit is five times what it may take. */
const SOON_MS = 5 * 1_000;

describe("PostgresStore", () => {
  test("is away while the server is stopped, and there again by itself", async () => {
    const postgres = await ownPostgres();
    const store = new PostgresStore({ url: postgres.url });
    await store.open();
    const life = new Life().accepted();
    await store.recordEvents(life.events);
    await postgres.stop();
    for (const run of [() => store.ping(), () => store.recordEvents(life.started().events)]) {
      const [error, tookMs] = await timed(() => rejection(run()));
      expect(error).toBeInstanceOf(StoreAwayError);
      expect(tookMs).toBeLessThan(SOON_MS);
    }
    await postgres.start();
    await until("the store is there again", () => isThere(store));
    await store.recordEvents(life.events);
    expect(await store.get(life.id)).toMatchObject({ state: "running" });
    await store.close();
  }, 60_000);

  test("loses nothing that it said was recorded, though the server is killed", async () => {
    const postgres = await ownPostgres();
    const store = new PostgresStore({ url: postgres.url });
    await store.open();
    const recorded: string[] = [];
    const begun = Promise.withResolvers<void>();
    let isOver = false;
    const writers = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        const lives = Array.from({ length: 20 }, () => new Life().accepted().started().outcome());
        try {
          await store.recordEvents(lives.flatMap(({ events }) => events));
          recorded.push(...lives.map(({ id }) => id));
          if (recorded.length > 200) begun.resolve();
        } catch (error) {
          expect(error).toBeInstanceOf(StoreAwayError);
        }
      }
    });
    await begun.promise;
    await postgres.kill();
    await postgres.start();
    await until("the store is there again", () => isThere(store));
    const before = recorded.length;
    await until("writers go on", () => recorded.length > before);
    isOver = true;
    await Promise.all(writers);
    for (let at = 0; at < recorded.length; at += 500) {
      const ids = recorded.slice(at, at + 500);
      expect(await store.getMany(ids)).toHaveLength(ids.length);
    }
    await store.close();
  }, 60_000);

  test("is away where the server says nothing any more, and takes new connections then", async () => {
    const postgres = await sharedPostgres();
    await using proxy = new TcpProxy(postgres.port);
    const database = new URL(await makeDatabase());
    database.port = String(proxy.port);
    const store = new PostgresStore({ url: database.href, limitMs: 300 });
    await store.open();
    proxy.swallow("toClient", "toTarget");
    const [error, tookMs] = await timed(() => rejection(store.stats()));
    expect(error).toBeInstanceOf(StoreAwayError);
    expect(String(error)).toContain("no answer within 300 ms");
    expect(tookMs).toBeLessThan(5 * 300);
    proxy.carry();
    await until("the store is there again", () => isThere(store));
    await proxy.cut();
    await until("the store is there again", () => isThere(store));
    await store.close();
  });

  test("outlives connections that are cut again and again under load", async () => {
    const postgres = await sharedPostgres();
    await using proxy = new TcpProxy(postgres.port);
    const database = new URL(await makeDatabase());
    database.port = String(proxy.port);
    const store = new PostgresStore({ url: database.href });
    await store.open();
    const recorded = new Set<string>();
    let failed = 0;
    let isOver = false;
    const writers = Array.from({ length: 6 }, async (_, size) => {
      while (!isOver) {
        const lives = Array.from({ length: size + 1 }, () => new Life().accepted().outcome());
        try {
          await store.recordEvents(lives.flatMap(({ events }) => events));
          for (const { id } of lives) recorded.add(id);
        } catch (error) {
          expect(error).toBeInstanceOf(StoreAwayError);
          failed += 1;
        }
      }
    });
    for (let cuts = 0; cuts < 40; cuts += 1) {
      const enough = recorded.size + 30;
      await until("more is recorded", () => recorded.size >= enough);
      await proxy.cut();
    }
    isOver = true;
    await Promise.all(writers);
    expect(failed).toBeGreaterThan(0);
    const ids = [...recorded];
    for (let at = 0; at < ids.length; at += 500) {
      const some = ids.slice(at, at + 500);
      expect(await store.getMany(some)).toHaveLength(some.length);
    }
    await store.close();
  }, 60_000);

  test("is opened by many processes at the same time", async () => {
    const url = await makeDatabase();
    const stores = [new PostgresStore({ url }), new PostgresStore({ url })];
    const ends = await Promise.all([
      opened(url),
      opened(url),
      ...stores.map((store) => store.open()),
    ]);
    expect(ends.slice(0, 2)).toEqual(["opened\n", "opened\n"]);
    for (const store of stores) {
      expect((await store.stats()).deadLetters).toBe(0);
      await store.close();
    }
  }, 30_000);

  test("opens once the server is there", async () => {
    const postgres = await ownPostgres();
    await postgres.stop();
    const store = new PostgresStore({ url: postgres.url });
    expect(await rejection(store.open())).toBeInstanceOf(StoreAwayError);
    await postgres.start();
    await store.open();
    await store.ping();
    await store.close();
  }, 60_000);

  test("says what is wrong, and never the password", async () => {
    const postgres = await sharedPostgres();
    postgres.sql("CREATE ROLE reader LOGIN PASSWORD 'hush-hush'");
    const newer = await makeDatabase();
    const store = new PostgresStore({ url: newer });
    await store.open();
    await store.close();
    postgres.sql("UPDATE coxswain.format SET version = 99", newer.split("/").at(-1));
    const cases = [
      [postgres.urlOf("postgres", { password: "hush-hush" }), StoreRefusedError, "the password"],
      [postgres.urlOf("nowhere"), StoreRefusedError, "Make the database"],
      [
        postgres.urlOf("postgres", { user: "reader", password: "hush-hush" }),
        StoreRefusedError,
        "right to make a schema",
      ],
      [newer, StoreRefusedError, "format 99"],
      [`${postgres.url}?sslmode=require`, StoreAwayError, "TLS"],
    ] as const;
    for (const [url, kind, expected] of cases) {
      const store = new PostgresStore({ url });
      const error = await rejection(store.open());
      await store.close();
      expect(error).toBeInstanceOf(kind);
      expect(String(error)).toContain(expected);
      for (const told of [String(error), inspect(error, { depth: 9, showHidden: true })]) {
        expect(told).not.toMatch(/hush-hush|:secret@/);
      }
    }
  });

  test("two recorders at once make the same record as one", async () => {
    const url = await makeDatabase();
    const stores = [new PostgresStore({ url }), new PostgresStore({ url })];
    for (const store of stores) await store.open();
    const run = fc.array(lives, { minLength: 1, maxLength: 5 }).chain((several) =>
      disorderly(several.flatMap((events) => {
        const id = newId();
        return events.map((event): JobEvent => ({ ...event, id }));
      }))
    );
    await fc.assert(
      fc.asyncProperty(run, async (events) => {
        await Promise.all(
          stores.flatMap((store, part) =>
            batches(events.filter((_, index) => index % stores.length === part))
              .map((batch) => store.recordEvents(batch))
          ),
        );
        const expected = new Map<string, Job>();
        for (const event of events) {
          expected.set(event.id, applyEvent(expected.get(event.id), event));
        }
        for (const [id, job] of expected) expect(await stores[0]?.get(id)).toEqual(job);
      }),
      { numRuns: 25 },
    );
    for (const store of stores) await store.close();
  }, 60_000);
});

describe("PostgresStore over TLS", () => {
  test("asks for as much as sslmode says", async () => {
    using authority = new Authority("coxswain test");
    using stranger = new Authority("somebody else");
    const { cert, key } = authority.issue("postgres", { names: "IP:127.0.0.1" });
    const postgres = await startPostgres({
      files: {
        "server.crt": cert,
        "server.key": key,
        "ca.crt": authority.ca,
        "no.crt": stranger.ca,
      },
      config: [
        "ssl = on",
        "ssl_cert_file = '{folder}/server.crt'",
        "ssl_key_file = '{folder}/server.key'",
      ],
    });
    const open = async (query: string) => {
      const store = new PostgresStore({ url: `${postgres.url}?${query}` });
      try {
        await store.open();
        await store.ping();
        return postgres.sql(
          "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) " +
            "WHERE application_name = 'coxswain'",
        ).trim();
      } catch (error) {
        return error;
      } finally {
        await store.close();
      }
    };
    try {
      const ca = `sslrootcert=${postgres.folder}/ca.crt`;
      expect(await open("sslmode=disable")).toBe("f");
      expect(await open("")).toBe("t");
      expect(await open("sslmode=require")).toBe("t");
      expect(await open(`sslmode=verify-ca&${ca}`)).toBe("t");
      expect(await open(`sslmode=verify-full&${ca}`)).toBe("t");
      const wrong = `sslrootcert=${postgres.folder}/no.crt`;
      for (const query of [`sslmode=verify-ca&${wrong}`, `sslmode=verify-full&${wrong}`]) {
        expect(await open(query)).toBeInstanceOf(StoreRefusedError);
      }
    } finally {
      await postgres.dispose();
    }
  }, 60_000);
});

async function isThere(store: PostgresStore): Promise<boolean> {
  try {
    await store.ping();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(StoreAwayError);
    return false;
  }
}

function opened(url: string): Promise<string> {
  const child = spawn(process.execPath, [join(import.meta.dir, "opening_process.ts"), url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((resolve) => {
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => said += chunk.toString());
    child.once("close", () => resolve(said));
  });
}

function batches(events: readonly JobEvent[]): JobEvent[][] {
  const middle = Math.ceil(events.length / 2);
  return [events.slice(0, middle), events.slice(middle)];
}
