/**
 * Reads event streams, many at once, and counts what comes: `bun scripts/bench/stream_readers.ts URL
 * COUNT` prints "ready" when all are open, and then, whenever a line comes in, how many events the
 * slowest and all of them together have got.
 */
const [url = "", count = "1"] = process.argv.slice(2);
const { hostname, port, pathname, host } = new URL(url);
const request = `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\naccept: text/event-stream\r\n\r\n`;
const END = "\ndata: ";

const got = new Array<number>(Number(count)).fill(0);
let open = 0;
for (let index = 0; index < got.length; index++) {
  let isOpen = false;
  /** The end of the last chunk, which may be the beginning of what is looked for. */
  let rest: Buffer = Buffer.alloc(0);
  await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open: (socket) => void socket.write(request),
      data: (_, chunk) => {
        if (!isOpen) open += 1;
        isOpen = true;
        const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
        let events = 0;
        let at = data.indexOf(END);
        let end = 0;
        for (; at >= 0; at = data.indexOf(END, end)) {
          events += 1;
          end = at + END.length;
        }
        rest = Buffer.from(data.subarray(Math.max(end, data.length - END.length + 1)));
        got[index] = (got[index] ?? 0) + events;
      },
      close: () => {
        console.error("A stream was closed");
        process.exit(1);
      },
      error: (_, error) => console.error(error.message),
    },
  });
}
while (open < got.length) await Bun.sleep(5);
console.log("ready");
process.stdin.on("data", () => {
  console.log(`${Math.min(...got)} ${got.reduce((sum, one) => sum + one, 0)}`);
});
