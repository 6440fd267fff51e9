/** What subscribers of channels are sent: a JSON array for polls, frames for event streams. */
import type { ChannelEvent } from "../pubsub/channel_event.ts";

const encoder = new TextEncoder();

/** Frames of events that many subscribers are given together, made once for all of them. */
const framesOf = new WeakMap<readonly ChannelEvent[], Uint8Array>();

/** Events as a JSON array. */
export function eventsJson(events: readonly ChannelEvent[]): string {
  return `[${events.map(({ json }) => json).join(",")}]`;
}

/**
 * Events as frames of an event stream (HTML Living Standard, section 9.2): messages are events of the
 * default type, gaps are events "gap"; their ids are where to go on.
 */
export function eventFrames(events: readonly ChannelEvent[]): Uint8Array {
  const known = framesOf.get(events);
  if (known !== undefined) return known;
  let text = "";
  for (const { kind, position, json } of events) {
    text += `${kind === "gap" ? "event: gap\n" : ""}id: ${position}\ndata: ${json}\n\n`;
  }
  const frames = encoder.encode(text);
  framesOf.set(events, frames);
  return frames;
}

/** Keeps a silent stream from being taken for dead, and its client up to date with where it is. */
export function keepAliveFrame(position: string): Uint8Array {
  return encoder.encode(`: still here\nid: ${position}\n\n`);
}

/** @param retryMs what a browser waits before it connects again. */
export function openingFrame(retryMs: number): Uint8Array {
  return encoder.encode(`retry: ${retryMs}\n\n`);
}
