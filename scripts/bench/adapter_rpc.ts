/** The same echo RPC as raw_rpc.ts through our broker port: what the adapter costs or saves. */
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import { ECHO_BODY, type RpcRun, startRpcWorker } from "./raw_rpc.ts";
import { measure, type Round } from "./stats.ts";

const WARM_UP_SECONDS = 1;

/** Runs one round after a warm-up and takes its worker down again. */
export async function runAdapterRpc({ url, concurrency, seconds }: RpcRun): Promise<Round> {
  const queue = `cox-bench.${crypto.randomUUID()}`;
  await using _worker = await startRpcWorker("adapter_rpc_worker.ts", [url, queue]);
  const broker = createAmqpBroker({ url, name: "bench caller" });
  await broker.start();
  const replies = await broker.openPrivateQueue({ prefix: "bench" });
  const waiting = new Map<string, (isRight: boolean) => void>();
  const reading = (async () => {
    for await (const { message: { properties: { correlationId = "" }, body } } of replies) {
      waiting.get(correlationId)?.(body.length === ECHO_BODY.length);
      waiting.delete(correlationId);
    }
  })();
  const replyTo = replies.name ?? "";
  let calls = 0;
  const call = () =>
    new Promise<boolean>((resolve, reject) => {
      const correlationId = String(calls++);
      waiting.set(correlationId, resolve);
      broker.publish({
        exchange: "",
        routingKey: queue,
        properties: { correlationId, replyTo },
        body: ECHO_BODY,
      }, { mandatory: true }).catch(reject);
    });
  await measure(call, { concurrency, seconds: WARM_UP_SECONDS });
  const round = await measure(call, { concurrency, seconds });
  await broker.deleteQueue(queue);
  await broker.stop();
  await reading;
  return round;
}
