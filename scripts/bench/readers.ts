/** Event streams that a process of its own reads, as benchmarks ask it. */

export interface Readers extends AsyncDisposable {
  counts(): Promise<Counts>;
}

export interface Counts {
  /** Events that the slowest stream has got. */
  readonly least: number;
  /** Events that all have got together. */
  readonly all: number;
  /** Different orders in which they came; 0 where nobody looked. */
  readonly orders: number;
  /** Of the first stream: see `OrderOfIds`. */
  readonly checksum: number;
}

/** @param how `--order` costs the reading process some time for each event. */
export async function openReaders(
  url: string,
  count: number,
  ...how: ("--order" | "--sockets")[]
): Promise<Readers> {
  const file = new URL("./stream_readers.ts", import.meta.url).pathname;
  const child = Bun.spawn([process.execPath, file, url, `${count}`, ...how], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const line = async (): Promise<string> => {
    const { value = "" } = await lines.read();
    return value.trim();
  };
  if (await line() !== "ready") throw new Error("The readers did not get ready");
  return {
    async counts() {
      child.stdin.write("\n");
      await child.stdin.flush();
      const [least = 0, all = 0, orders = 0, checksum = 0] = (await line()).split(" ").map(Number);
      return { least, all, orders, checksum };
    },
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.exited;
    },
  };
}
