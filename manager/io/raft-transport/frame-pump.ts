import { encodeFrames, type ItemCodec, MAX_FRAME_BYTES } from './frame.js';
import type { Source } from './outbox.js';

/** gRPC calls back when the bytes are on their way: what comes in until then makes up the next frame. */
type Write = (frame: Buffer, onWritten: () => void) => void;

/** Moves what waits in a source into a stream, as fast as that takes it and no faster. */
export class FramePump<T> {
  readonly #source: Source<T>;
  readonly #codec: ItemCodec<T>;
  readonly #write: Write;
  #underWay = 0;
  #isScheduled = false;
  #isStopped = false;

  constructor(source: Source<T>, codec: ItemCodec<T>, write: Write) {
    this.#source = source;
    this.#codec = codec;
    this.#write = write;
  }

  /** There is something in the source. What else comes within this turn goes with it. */
  wake(): void {
    if (this.#isScheduled || this.#underWay > 0) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  stop(): void {
    this.#isStopped = true;
  }

  #flush(): void {
    if (this.#isStopped || this.#underWay > 0) return;
    const { items, bytes } = this.#source.take(MAX_FRAME_BYTES);
    if (items.length === 0) return;
    const frames = encodeFrames(items, bytes, this.#codec);
    this.#underWay = frames.length;
    for (const frame of frames) {
      this.#write(frame, () => {
        this.#underWay--;
        this.#flush();
      });
    }
  }
}
