/** One line of a container's output, or a part of one that is very long. */
export interface OutputLine {
  stream: 'stdout' | 'stderr';
  /** RFC 3339 in UTC with nine digits of the second. */
  timestamp: string;
  /** With its line feed, unless it is a part that goes on. */
  data: Uint8Array;
  /** What the log driver notes of the container, as the engine writes it: `KEY=VALUE,KEY=VALUE`. */
  details?: string;
}

/** What the engine writes when asked for timestamps: one for each line, and a space. */
const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;
const TIMESTAMP_LENGTH = 30;
const HEADER_LENGTH = 8;
const LINE_FEED = 0x0a;
const SPACE = 0x20;
/** A line of a terminal that has no end is cut. */
const LONGEST_LINE = 1024 * 1024;

/**
 * Cuts what the engine answers to a question for logs with timestamps into lines. Without a terminal each line has a
 * header of 8 bytes (the stream's number, three zeros, the length, big-endian: Docker's stdcopy); with one there are but
 * the lines, all of them of stdout.
 */
export class LogFrames {
  readonly #isTty: boolean;
  readonly #withDetails: boolean;
  #rest: Uint8Array = new Uint8Array(0);
  #lastTimestamp = '';

  /** @param withDetails  the engine was asked for them: between the timestamp and the line, with a space after them */
  constructor({ isTty, withDetails = false }: { isTty: boolean; withDetails?: boolean }) {
    this.#isTty = isTty;
    this.#withDetails = withDetails;
  }

  /** The lines that are complete with this chunk. */
  push(chunk: Uint8Array): OutputLine[] {
    const bytes = this.#rest.length === 0 ? chunk : joined(this.#rest, chunk);
    const lines: OutputLine[] = [];
    let at = 0;
    for (;;) {
      const frame = this.#isTty ? lineAt(bytes, at) : frameAt(bytes, at);
      if (frame === undefined) break;
      at = frame.end;
      const line = this.#lineOf(frame.stream, bytes.subarray(frame.start, frame.end));
      if (line !== undefined) lines.push(line);
    }
    this.#rest = bytes.subarray(at);
    return lines;
  }

  /** What the engine had not finished when it ended: the last words of a terminal. */
  finish(): OutputLine[] {
    const line = this.#isTty && this.#rest.length > 0 ? this.#lineOf(1, this.#rest) : undefined;
    return line === undefined ? [] : [line];
  }

  /** Undefined for what is neither stdout nor stderr. */
  #lineOf(stream: number, bytes: Uint8Array): OutputLine | undefined {
    if (stream !== 1 && stream !== 2) return undefined;
    let data = bytes;
    if (bytes[TIMESTAMP_LENGTH] === SPACE) {
      const head = String.fromCharCode(...bytes.subarray(0, TIMESTAMP_LENGTH));
      if (TIMESTAMP.test(head)) {
        this.#lastTimestamp = head;
        data = bytes.subarray(TIMESTAMP_LENGTH + 1);
      }
    }
    const line = { stream: stream === 1 ? 'stdout' : 'stderr', timestamp: this.#lastTimestamp } as const;
    const space = this.#withDetails ? data.indexOf(SPACE) : -1;
    if (space < 0) return { ...line, data };
    return { ...line, data: data.subarray(space + 1), details: String.fromCharCode(...data.subarray(0, space)) };
  }
}

interface FrameAt {
  stream: number;
  start: number;
  end: number;
}

function frameAt(bytes: Uint8Array, at: number): FrameAt | undefined {
  const start = at + HEADER_LENGTH;
  if (bytes.length < start) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_LENGTH);
  const end = start + view.getUint32(4);
  return bytes.length < end ? undefined : { stream: view.getUint8(0), start, end };
}

function lineAt(bytes: Uint8Array, at: number): FrameAt | undefined {
  const feed = bytes.indexOf(LINE_FEED, at);
  if (feed >= 0) return { stream: 1, start: at, end: feed + 1 };
  return bytes.length - at > LONGEST_LINE ? { stream: 1, start: at, end: bytes.length } : undefined;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
