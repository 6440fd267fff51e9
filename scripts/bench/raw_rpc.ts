/**
 * The yardstick: an echo RPC written directly on the AMQP client, caller and worker in two processes.
 * What the program does over RabbitMQ is measured beside it, on the same broker in the same run.
 */
import { AMQPClient } from "@cloudamqp/amqp-client";
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath, URL } from "node:url";
import { measure, type Round } from "./stats.ts";

export interface RpcRun {
  /** AMQP URL of a RabbitMQ on this machine. */
  readonly url: string;
  /** Calls in flight. */
  readonly concurrency: number;
  readonly seconds: number;
}

/** What is called: small, as most commands are. */
export const ECHO_BODY = new TextEncoder().encode('[[1,2],{},{"chain":null}]');
const WARM_UP_SECONDS = 1;

/** Runs one round after a warm-up and takes its worker down again. */
export async function runRawRpc({ url, concurrency, seconds }: RpcRun): Promise<Round> {
  const queue = `cox-bench.${crypto.randomUUID()}`;
  await using _worker = await startRpcWorker("raw_rpc_worker.ts", [url, queue]);
  const client = new AMQPClient(`${url}?frameMax=131072&heartbeat=30`);
  await client.connect();
  const channel = await client.channel();
  const replies = await channel.queueDeclare("", { exclusive: true });
  const waiting = new Map<string, (isRight: boolean) => void>();
  await channel.basicConsume(replies.name, { noAck: true }, (reply) => {
    const { correlationId = "" } = reply.properties;
    waiting.get(correlationId)?.(reply.body?.length === ECHO_BODY.length);
    waiting.delete(correlationId);
  });
  let calls = 0;
  const call = () =>
    new Promise<boolean>((resolve, reject) => {
      const correlationId = String(calls++);
      waiting.set(correlationId, resolve);
      channel.basicPublish("", queue, ECHO_BODY, { correlationId, replyTo: replies.name })
        .catch(reject);
    });
  await measure(call, { concurrency, seconds: WARM_UP_SECONDS });
  const round = await measure(call, { concurrency, seconds });
  await channel.queueDelete(queue);
  await client.close();
  return round;
}

/** Starts a worker's file beside this one; resolves when it says that it consumes. */
export async function startRpcWorker(
  file: string,
  args: readonly string[],
): Promise<AsyncDisposable> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const worker = spawn(process.execPath, [path, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise<void>((resolve, reject) => {
    worker.stdout.once("data", () => resolve());
    worker.once("exit", (code) => reject(new Error(`${file} ended with ${code}`)));
  });
  return { [Symbol.asyncDispose]: () => ended(worker) };
}

async function ended(worker: ChildProcess): Promise<void> {
  if (worker.exitCode !== null) return;
  const exit = new Promise((resolve) => worker.once("exit", resolve));
  worker.kill();
  await exit;
}
