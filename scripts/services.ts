/**
 * Brings a private RabbitMQ up for tries by hand, prints its URL and takes it down again on Ctrl-C:
 * `./node_modules/bun/bin/bun.exe scripts/services.ts`
 */
import { startRabbitMq } from "./services/rabbitmq.ts";

const rabbit = await startRabbitMq();
console.log(`RabbitMQ is up: ${rabbit.url}`);
console.log(`Ctrl-C takes it down. Its folder is ${rabbit.folder}`);
const stopped = Promise.withResolvers<void>();
process.once("SIGINT", () => stopped.resolve());
process.once("SIGTERM", () => stopped.resolve());
await stopped.promise;
await rabbit.dispose();
