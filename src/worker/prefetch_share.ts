/**
 * Divides what a worker may hold among its queues. AMQP 0-9-1 limits each consumer by itself (a limit
 * over a whole channel is deprecated in RabbitMQ 4), so the sum is kept by giving each its share.
 */

/**
 * @param total most deliveries held over all queues.
 * @param active for each queue, whether it has brought something of late.
 * @returns each queue's prefetch. Queues that bring something share the total; quiet ones keep a foot
 *   in the door with one delivery, so the sum passes the total by at most the number of quiet queues,
 *   until the next division.
 */
export function sharePrefetch(total: number, active: readonly boolean[]): number[] {
  const count = active.filter(Boolean).length;
  const share = Math.max(1, Math.floor(total / Math.max(count, 1)));
  if (active.length === 1) return [Math.max(1, total)];
  return active.map((isActive) => isActive ? share : 1);
}
