/**
 * Isolates that are made for one attempt each and end after it: for redelivered messages, and for those
 * whose isolate was killed for a neighbour's sake.
 */
import { getLogger } from "@logtape/logtape";
import { Backoff } from "../async/backoff.ts";
import type { Clock, Timer } from "../lifecycle/clock.ts";
import type { Isolation } from "../tasks/descriptor.ts";
import type { Member } from "./member.ts";
import type { PoolAttempt } from "./pool_attempt.ts";

const log = getLogger(["coxswain", "isolates"]);

/** At once; the others wait. A killed isolate may leave any number of neighbours behind. */
const MAX_LONE = 16;
/** An isolate that cannot get ready (its set-up fails) is tried so often, over about 3 seconds. */
const MAX_TRIES = 5;

interface Lone {
  readonly attempt: PoolAttempt;
  readonly backoff: Backoff;
  tries: number;
  member: Member<PoolAttempt> | undefined;
  pause: Timer | undefined;
}

export interface LoneMembersOptions {
  readonly open: (kind: Isolation) => Member<PoolAttempt>;
  /** Its isolate is ready. */
  readonly onReady: (attempt: PoolAttempt, member: Member<PoolAttempt>) => void;
  /** No isolate could be made for it. */
  readonly onGivenUp: (attempt: PoolAttempt, reason: string) => void;
  readonly clock: Clock;
}

export class LoneMembers {
  readonly #options: LoneMembersOptions;
  readonly #byAttempt = new Map<PoolAttempt, Lone>();
  readonly #byMember = new Map<Member<PoolAttempt>, Lone>();

  constructor(options: LoneMembersOptions) {
    this.#options = options;
  }

  get hasRoom(): boolean {
    return this.#byAttempt.size < MAX_LONE;
  }

  has(member: Member<PoolAttempt>): boolean {
    return this.#byMember.has(member);
  }

  /** Makes an isolate for an attempt; `onReady` or `onGivenUp` follows. */
  open(attempt: PoolAttempt): void {
    attempt.place = { kind: "opening" };
    const backoff = new Backoff({ baseMs: 200, capMs: 2_000 });
    const lone: Lone = { attempt, backoff, tries: 0, member: undefined, pause: undefined };
    this.#byAttempt.set(attempt, lone);
    this.#try(lone);
  }

  ready(member: Member<PoolAttempt>): void {
    const lone = this.#byMember.get(member);
    if (lone) this.#options.onReady(lone.attempt, member);
  }

  startFailed(member: Member<PoolAttempt>, reason: string): void {
    const lone = this.#byMember.get(member);
    if (lone === undefined) return;
    this.#byMember.delete(member);
    lone.member = undefined;
    const { task, id } = lone.attempt.request;
    if (lone.tries >= MAX_TRIES) {
      this.#byAttempt.delete(lone.attempt);
      this.#options.onGivenUp(lone.attempt, `an isolate for it did not get ready: ${reason}`);
      return;
    }
    const pauseMs = lone.backoff.next();
    log.warn("An isolate for one attempt did not get ready: {reason}", {
      reason,
      task,
      id,
      pauseMs: Math.round(pauseMs),
    });
    lone.pause = this.#options.clock.after(pauseMs, () => this.#try(lone));
  }

  /** The attempt is over: its isolate is no longer ours. @returns the isolate, to be ended. */
  release(attempt: PoolAttempt): Member<PoolAttempt> | undefined {
    const lone = this.#byAttempt.get(attempt);
    if (lone === undefined) return undefined;
    lone.pause?.cancel();
    this.#byAttempt.delete(attempt);
    if (lone.member) this.#byMember.delete(lone.member);
    return lone.member;
  }

  #try(lone: Lone): void {
    const { request } = lone.attempt;
    lone.tries += 1;
    lone.member = this.#options.open(request.alone ? "process" : request.isolation);
    this.#byMember.set(lone.member, lone);
  }
}
