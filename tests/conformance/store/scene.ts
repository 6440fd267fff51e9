/** A test of a store: its own empty place, and what it opened there closed in the end. */
import { test } from "bun:test";
import type { Job } from "../../../src/jobs/job.ts";
import type { BeginningEvent, JobEvent } from "../../../src/jobs/job_event.ts";
import type { Store } from "../../../src/store/store.ts";
import { Life } from "../../jobs/job_lives.ts";
import type { StoreHarness, StoreOptions, StorePlace } from "./harness.ts";

const LIMIT_MS = 30_000;

export class Scene {
  readonly #place: StorePlace;
  readonly #stores: Store[] = [];

  constructor(place: StorePlace) {
    this.#place = place;
  }

  /** A new store at the scene's place, not opened. */
  create(options?: StoreOptions): Store {
    const store = this.#place.create(options);
    this.#stores.push(store);
    return store;
  }

  async open(options?: StoreOptions): Promise<Store> {
    const store = this.create(options);
    await store.open();
    return store;
  }

  async close(): Promise<void> {
    for (const store of this.#stores) await store.close();
  }
}

export type SceneTest = (name: string, run: (scene: Scene) => Promise<void>) => void;

export function sceneTests(harness: StoreHarness): SceneTest {
  return (name, run) =>
    test(name, async () => {
      await using place = await harness.makePlace();
      const scene = new Scene(place);
      try {
        await run(scene);
      } finally {
        await scene.close();
      }
    }, LIMIT_MS);
}

/** Records lives as one batch. */
export function record(store: Store, ...lives: readonly Life[]): Promise<readonly Job[]> {
  return store.recordEvents(lives.flatMap(({ events }) => events));
}

/** The event that begins a life. */
export function beginningOf(life: Life): BeginningEvent {
  const event: JobEvent | undefined = life.events[0];
  if (event?.kind !== "accepted" && event?.kind !== "scheduled") {
    throw new Error("The life does not begin at its beginning");
  }
  return event;
}

export function ids(jobs: readonly { readonly id: string }[]): readonly string[] {
  return jobs.map(({ id }) => id);
}
