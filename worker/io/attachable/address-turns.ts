import type { Clock } from '@apiary/std';

/** How long the engine may take from one of a container's addresses to the next. */
const PATIENCE_MS = 2_000;

/** That of one container, which has its IPv4 address, or is getting it. */
export interface AddressTurn<Holder> {
  /** Who asks for the address of IPv6 next. */
  holder: Holder | undefined;
  readonly over: Promise<void>;
  end(): void;
}

/**
 * Who gets addresses of both families now, by network: the engine asks for them one after the other, that of IPv4 first, and does
 * not say whose they are, so that it is one container's turn at a time.
 */
export class AddressTurns<Holder> {
  readonly #clock: Clock;
  readonly #turns = new Map<string, AddressTurn<Holder>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when it is the next one's turn, which ends, or is ended when the engine says nothing more. */
  async begin(networkId: string): Promise<AddressTurn<Holder>> {
    for (let other = this.of(networkId); other !== undefined; other = this.of(networkId)) await other.over;
    let settle = () => {};
    const over = new Promise<void>((resolve) => {
      settle = resolve;
    });
    const turn: AddressTurn<Holder> = {
      holder: undefined,
      over,
      end: () => {
        if (this.of(networkId) === turn) this.#turns.delete(networkId);
        settle();
      },
    };
    this.#turns.set(networkId, turn);
    return turn;
  }

  /** The address of IPv4 is given. */
  expectNext(turn: AddressTurn<Holder>, holder: Holder): void {
    turn.holder = holder;
    const timer = this.#clock.after(PATIENCE_MS, () => turn.end());
    void turn.over.then(() => timer.cancel());
  }

  /** Whose turn it is. */
  of(networkId: string): AddressTurn<Holder> | undefined {
    return this.#turns.get(networkId);
  }
}
