/** What the code inside an isolate knows of the main thread: a way to post texts and to get them. */
export interface HostChannel {
  send(text: string): void;
  /** Called once, before the first message can come. */
  receive(listener: (message: unknown) => void): void;
}
