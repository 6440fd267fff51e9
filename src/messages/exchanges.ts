/** Messages to exchanges of the application's, as HTTP, tasks and the command line send them. */

export type ExchangeType = "fanout" | "topic" | "direct" | "headers";

export interface OutgoingMessage {
  readonly exchange: string;
  /** Routing key. */
  readonly key: string;
  readonly body: Uint8Array;
  readonly contentType: string;
  /** Texts only: a binding's arguments match them as texts. */
  readonly headers: Readonly<Record<string, string>>;
  /** Kept on disk by durable queues. */
  readonly persistent: boolean;
}

export interface PublishSettings {
  /** Resolve when the broker has taken the message, and not as soon as it is handed on. */
  readonly isAwaited: boolean;
  /** How long the broker may be away, in milliseconds. Default 0. */
  readonly patienceMs?: number;
}

/** How publishing ended. */
export type PublishEnding =
  /** `isRouted`: it reached at least one queue; absent where nobody waited for that. */
  | { readonly kind: "published"; readonly isRouted?: boolean }
  /** The name is empty, too long or not an application's. */
  | { readonly kind: "bad_name"; readonly message: string }
  | { readonly kind: "unknown_exchange"; readonly message: string }
  /** It cannot be written, or the broker said no. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "broker_away"; readonly message: string };

/** How declaring an exchange ended. */
export type DeclareEnding =
  | { readonly kind: "declared" }
  | { readonly kind: "bad_name"; readonly message: string }
  /** It exists with another type, or not durable as asked. */
  | { readonly kind: "mismatch"; readonly message: string }
  | { readonly kind: "broker_away"; readonly message: string };

/** None of these rejects for what an application or a broker may do: that is an ending. */
export interface Exchanges {
  publish(message: OutgoingMessage, settings: PublishSettings): Promise<PublishEnding>;
  /** Idempotent; declared again after a reconnect. */
  declare(name: string, type: ExchangeType, isDurable: boolean): Promise<DeclareEnding>;
}
