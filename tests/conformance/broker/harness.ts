/** What an adapter's test file supplies so that the conformance suite can run against it. */
import type { Broker, BrokerFeature } from "../../../src/broker/broker.ts";

/** The port's features, and what only some adapters have a reason to do at all. */
export type SuiteFeature =
  | BrokerFeature
  /** The connection can be lost and comes back by itself. */
  | "reconnect";

export interface BrokerHarness {
  /** What this adapter cannot do, each with the reason. All that is not named here must work. */
  readonly lacks: Readonly<Partial<Record<SuiteFeature, string>>>;
  /** A new connection to the same broker, not started. */
  create(): Broker;
  /**
   * Stops the broker and starts it again with what it kept; resolves when it accepts connections.
   * Connections made before it come back only where the adapter has "reconnect".
   */
  restart(): Promise<void>;
  /**
   * Cuts the sockets of this connection without a farewell; resolves when they are cut. Needed where
   * the adapter has "reconnect".
   */
  cutConnections?(broker: Broker): Promise<void>;
  /** Takes the broker down; called once, after all tests. */
  dispose(): Promise<void>;
}
