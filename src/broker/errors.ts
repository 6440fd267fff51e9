/** The errors of the broker port, the same from every adapter. */

/** The broker cannot be reached now (or is blocked); what failed may be tried again later. */
export class BrokerAwayError extends Error {
  override readonly name = "BrokerAwayError";
}

/** The broker answered, and trying again cannot help until somebody changes something. */
export class BrokerRefusedError extends Error {
  override readonly name = "BrokerRefusedError";
}

/** An exchange, queue or binding cannot be declared, or is missing where it is needed. */
export class DeclarationError extends Error {
  override readonly name = "DeclarationError";
}

/** A queue cannot be consumed beside those who consume it: they, or who asked, want it alone. */
export class QueueTakenError extends Error {
  override readonly name = "QueueTakenError";
}

/** The broker or the wire would not take this one message. */
export class PublishRefusedError extends Error {
  override readonly name: string = "PublishRefusedError";
}

/** No broker would take this message as it is: a name is too long, a value is none that AMQP carries. */
export class UnwritableMessageError extends PublishRefusedError {
  override readonly name = "UnwritableMessageError";
}

/** There is no exchange of the name that a message was to be published to. */
export class UnknownExchangeError extends PublishRefusedError {
  override readonly name = "UnknownExchangeError";
}
