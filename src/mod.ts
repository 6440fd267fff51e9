/**
 * What a task file imports as "coxswain".
 *
 * @example
 * import { context, setup, task } from "coxswain";
 *
 * export const settings = setup(async () => ({ db: await openDb() }), {
 *   teardown: ({ db }) => db.close(),
 * });
 *
 * export const add = task("math.add", (a: number, b: number) => a + b);
 *
 * export const find = task("orders.find", { timeout: "5s" }, async (id: string) => {
 *   context.log.info("looking for {id}", { id });
 *   return await settings.db.find(id, { signal: context.signal });
 * });
 */
export { setup, task } from "./tasks/definition.ts";
export type { InputOf, SetupOptions, TaskDefinition } from "./tasks/definition.ts";
export { consume } from "./tasks/consuming.ts";
export type { ConsumerDefinition, MessageHandler } from "./tasks/consuming.ts";
export type { ConsumeOptions, ExchangeType, HeaderMatch } from "./tasks/consumer.ts";
export type { Envelope, HeaderField, Properties } from "./tasks/consumed_message.ts";
export { context } from "./tasks/context.ts";
export type { Context, LogFunction, PubSub, RequestInfo, TaskLog } from "./tasks/context.ts";
export type {
  ChannelGap,
  ChannelMessage,
  ChannelSubscription,
  SubscribeOptions,
} from "./tasks/channel_subscription.ts";
export { enqueue } from "./tasks/enqueue.ts";
export type { JobOptions } from "./tasks/enqueue.ts";
export { heartbeat } from "./tasks/periodic.ts";
export type { PeriodicOptions, TaskHeartbeat } from "./tasks/periodic.ts";
export { exchanges } from "./tasks/exchanges.ts";
export type { Exchanges, PublishOptions } from "./tasks/exchanges.ts";
export { devices } from "./tasks/devices.ts";
export type { Devices, SendOptions } from "./tasks/devices.ts";
export { DefinitionError, Interruption, Reject, ResultError, Retry } from "./tasks/errors.ts";
export type { InterruptionCause, RetryRequest } from "./tasks/errors.ts";
export { cron, every } from "./tasks/scheduling.ts";
export type { Schedulable } from "./tasks/scheduling.ts";
export type { CronOptions, ScheduleOptions } from "./tasks/schedule.ts";
export type { Duration, RetryOptions, TaskOptions } from "./tasks/options.ts";
export type { Settings } from "./tasks/registry.ts";
export type { Isolation } from "./tasks/descriptor.ts";
