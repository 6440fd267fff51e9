/** The file that a Web Worker isolate starts with. */
import { parentPort } from "node:worker_threads";
import { serveIsolate } from "./inside.ts";

const port = parentPort;
if (port === null) throw new Error("Cannot run as an isolate: this is not a Web Worker");
serveIsolate({
  send: (text) => port.postMessage(text),
  receive: (listener) => void port.on("message", listener),
});
