/** A file system of a few MiB that can be filled to its last block. Needs the right to mount. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { atExit } from "./at_exit.ts";

const CHUNKS_BYTES = [2 ** 20, 4_096];

export class SmallDisk implements Disposable {
  readonly path: string;
  readonly #filling: string;
  readonly #forget: () => void;

  private constructor(path: string) {
    this.path = path;
    this.#filling = join(path, "filling");
    this.#forget = atExit(() => this.#unmount());
  }

  /** Undefined where nothing may be mounted. */
  static tryMount(path: string, mebibytes: number): SmallDisk | undefined {
    mkdirSync(path, { recursive: true });
    const options = ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", path];
    return spawnSync("mount", options, { stdio: "ignore" }).status === 0
      ? new SmallDisk(path)
      : undefined;
  }

  /** Leaves no room at all, until `free`. May be called again, where something has made room. */
  fill(): void {
    const file = openSync(this.#filling, "a");
    try {
      for (const bytes of CHUNKS_BYTES) {
        const chunk = new Uint8Array(bytes);
        while (writesWhole(file, chunk)) { /* There is room for another one. */ }
      }
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#filling, { force: true });
  }

  [Symbol.dispose](): void {
    this.#forget();
    this.#unmount();
  }

  #unmount(): void {
    spawnSync("umount", ["-l", this.path], { stdio: "ignore" });
  }
}

function writesWhole(file: number, chunk: Uint8Array): boolean {
  try {
    return writeSync(file, chunk) === chunk.length;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOSPC") return false;
    throw error;
  }
}
