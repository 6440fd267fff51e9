/**
 * Reads event streams, many at once, and counts what comes: `bun scripts/bench/stream_readers.ts URL
 * COUNT [--order]` prints "ready" when all are open, and then, whenever a line comes in, how many
 * events the slowest and all of them together have got; with `--order` also how many different orders
 * of ids there are, and the checksum of the first. With `--sockets` they are WebSockets.
 */
import { OrderOfIds } from "./order_of_ids.ts";

const [url = "", count = "1", option] = process.argv.slice(2);
const { hostname, port, pathname, host } = new URL(url);
const areSockets = option === "--sockets";
const UPGRADE = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
const request = `GET ${pathname} HTTP/1.1\r\nhost: ${host}\r\n` +
  `${areSockets ? UPGRADE : "accept: text/event-stream"}\r\n\r\n`;
const ID = "id: ";
/** Stands once in each event. */
const END = areSockets ? '"channel":"' : "\ndata: ";

const got = new Array<number>(Number(count)).fill(0);
const orders = option === "--order" ? got.map(() => new OrderOfIds()) : [];
let open = 0;
for (let index = 0; index < got.length; index++) {
  let isOpen = false;
  /** The end of the last chunk, which may have the beginning of an event. */
  let rest: Buffer = Buffer.alloc(0);
  const order = orders[index];
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
          order?.add(data.subarray(data.lastIndexOf(ID, at) + ID.length, at));
          end = at + END.length;
        }
        rest = Buffer.from(data.subarray(end));
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
  const checksums = orders.map(({ checksum }) => checksum);
  const figures = [
    Math.min(...got),
    got.reduce((sum, one) => sum + one, 0),
    new Set(checksums).size,
    checksums[0] ?? 0,
  ];
  console.log(figures.join(" "));
});
