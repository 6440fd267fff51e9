/**
 * An isolate as the main thread holds it: something that runs our entry, takes and gives texts, and can
 * be killed. web_worker_isolate.ts and process_isolate.ts are its two kinds.
 */

export interface IsolateEvents {
  /** Each text that the isolate posts, in order. Not called after `onClose`. */
  onMessage(text: string): void;
  /**
   * Called once, when its thread or process has really ended, for whatever reason.
   * @param reason for people, such as "it exited with code 3".
   */
  onClose(reason: string): void;
}

export interface Isolate {
  /** Of an isolate that is a process of its own. */
  readonly pid?: number;
  /** Posts a text; to an isolate that has ended it does nothing. */
  send(text: string): void;
  /**
   * Ends it without asking. A process ends at once; a Web Worker when its JavaScript can be stopped,
   * which native code that blocks puts off. Idempotent.
   */
  kill(): void;
}

/** Starts an isolate. @throws Error when the system has no room for it. */
export type OpenIsolate = (events: IsolateEvents) => Isolate;
