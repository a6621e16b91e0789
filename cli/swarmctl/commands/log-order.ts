export interface LogLine {
  to: 'out' | 'err';
  text: string;
  /** As the daemon writes it (RFC 3339, in UTC, with nine digits of a second), so that texts compare as times do. */
  time: string;
}

/** The lines of sources that are in order each, in the order of all. Of lines of one time the earlier source's come first. */
export async function* inOrderOfTime(
  sources: readonly AsyncGenerator<LogLine, void, void>[],
): AsyncGenerator<LogLine, void, void> {
  const heads = await Promise.all(sources.map(async (source) => ({ source, next: await source.next() })));
  for (;;) {
    let first: { source: AsyncGenerator<LogLine, void, void>; line: LogLine; at: number } | undefined;
    for (const [at, { source, next }] of heads.entries()) {
      if (next.done !== true && (first === undefined || next.value.time < first.line.time)) {
        first = { source, line: next.value, at };
      }
    }
    if (first === undefined) return;
    yield first.line;
    heads[first.at] = { source: first.source, next: await first.source.next() };
  }
}
