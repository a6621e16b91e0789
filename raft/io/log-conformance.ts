import assert from 'node:assert/strict';
import { ApiaryError } from '@apiary/std';
import type { Leadership, Log, StateMachine } from '../core/index.js';

/** What an implementation of `Log` must offer to be tried. */
export interface LogFixture {
  /** A log, not yet opened, over the same storage as those before, which are closed by then. */
  newLog(): Log;
  maxEntryBytes: number;
  /** Removes the storage. */
  cleanUp(): Promise<void>;
}

/**
 * What every `Log` keeps, as cases for any test runner: each runs on a fixture of its own, and throws when the
 * promise is broken.
 */
export const LOG_CONFORMANCE: readonly { name: string; run(fixture: LogFixture): Promise<void> }[] = [
  { name: 'an entry is applied, once, before its proposer is answered', run: appliesBeforeAnswering },
  { name: 'entries proposed at the same time are applied in the order of the calls', run: keepsOrder },
  { name: 'entries come back as they were given: empty, binary, large', run: keepsBytes },
  { name: 'what was acknowledged is there after a restart, in order and once', run: survivesRestart },
  { name: 'many entries and restarts leave the state that all entries make', run: survivesSnapshots },
  {
    name: 'an entry over the limit is refused with its size and the limit, and the next one is accepted',
    run: refusesLarge,
  },
  { name: 'a barrier passes once what was acknowledged is applied', run: passesBarrier },
  { name: 'each opening is led in a later term, by itself or another, and says so', run: leads },
  { name: 'a closed log applies nothing and refuses proposals and barriers', run: refusesWhenClosed },
];

/** A state machine that remembers every entry in order, and whether it was driven as the contract says. */
export class Ledger implements StateMachine {
  entries: { index: number; text: string }[] = [];
  restores = 0;
  applies = 0;

  get texts(): string[] {
    return this.entries.map(({ text }) => text);
  }

  apply(index: number, entry: Uint8Array): void {
    assert.ok(index > (this.entries.at(-1)?.index ?? 0), `entry ${index} after entry ${this.entries.at(-1)?.index}`);
    this.applies++;
    this.entries.push({ index, text: Buffer.from(entry).toString('latin1') });
  }

  /** As of the call, whatever is applied until the pieces are drawn. */
  snapshot(): Iterable<Uint8Array> {
    const entries = [...this.entries];
    function* pieces() {
      yield Buffer.from(String(entries.length));
      for (const entry of entries) yield Buffer.from(JSON.stringify(entry));
    }
    return pieces();
  }

  restore(index: number, pieces: Iterable<Uint8Array>): void {
    const [count, ...entries] = [...pieces].map((piece) => JSON.parse(Buffer.from(piece).toString()));
    assert.equal(entries.length, count);
    assert.ok((entries.at(-1)?.index ?? 0) <= index);
    this.entries = entries;
    this.restores++;
  }
}

/** With all that was committed before: a member that is not alone has to be told. */
async function opened(fixture: LogFixture): Promise<{ log: Log; ledger: Ledger }> {
  const log = fixture.newLog();
  const ledger = new Ledger();
  await log.open(ledger);
  await log.barrier();
  return { log, ledger };
}

const text = (value: string): Uint8Array => Buffer.from(value, 'latin1');

async function appliesBeforeAnswering(fixture: LogFixture): Promise<void> {
  const { log, ledger } = await opened(fixture);
  for (let i = 0; i < 5; i++) {
    const index = await log.propose(text(`entry ${i}`));
    assert.deepEqual(ledger.entries.at(-1), { index, text: `entry ${i}` });
    assert.equal(ledger.entries.length, i + 1);
  }
  await log.close();
}

async function keepsOrder(fixture: LogFixture): Promise<void> {
  const { log, ledger } = await opened(fixture);
  const names = Array.from({ length: 300 }, (_, i) => `entry ${i}`);
  const indexes = await Promise.all(names.map((name) => log.propose(text(name))));
  assert.deepEqual(ledger.texts, names);
  assert.deepEqual(
    ledger.entries.map(({ index }) => index),
    indexes,
  );
  await log.close();
}

async function keepsBytes(fixture: LogFixture): Promise<void> {
  const allBytes = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
  const texts = ['', '\0', allBytes, '\0'.repeat(5000), allBytes.repeat(4096)];
  const { log, ledger } = await opened(fixture);
  for (const each of texts) await log.propose(text(each));
  assert.ok(ledger.texts.every((each, i) => each === texts[i]));
  await log.close();
  const again = await opened(fixture);
  assert.equal(again.ledger.texts.length, texts.length);
  assert.ok(again.ledger.texts.every((each, i) => each === texts[i]));
  await again.log.close();
}

async function survivesRestart(fixture: LogFixture): Promise<void> {
  const expected: { index: number; text: string }[] = [];
  for (let round = 0; round < 4; round++) {
    const { log, ledger } = await opened(fixture);
    assert.deepEqual(ledger.entries, expected);
    for (let i = 0; i < 7; i++) {
      const name = `round ${round} entry ${i}`;
      expected.push({ index: await log.propose(text(name)), text: name });
    }
    await log.close();
  }
}

async function survivesSnapshots(fixture: LogFixture): Promise<void> {
  const expected: string[] = [];
  for (let round = 0; round < 3; round++) {
    const { log, ledger } = await opened(fixture);
    assert.deepEqual(ledger.texts, expected);
    for (let batch = 0; batch < 20; batch++) {
      const names = Array.from({ length: 50 }, (_, i) => `${round}.${batch}.${i}`);
      expected.push(...names);
      await Promise.all(names.map((name) => log.propose(text(name))));
    }
    assert.deepEqual(ledger.texts, expected);
    await log.close();
  }
}

async function refusesLarge(fixture: LogFixture): Promise<void> {
  const { log, ledger } = await opened(fixture);
  const size = fixture.maxEntryBytes + 1;
  await assert.rejects(log.propose(new Uint8Array(size)), (error) => {
    assert.ok(error instanceof ApiaryError && error.code === 'resource-exhausted', String(error));
    assert.match(error.message, new RegExp(`${size}.*${fixture.maxEntryBytes}`));
    return true;
  });
  await log.propose(text('after'));
  assert.deepEqual(ledger.texts, ['after']);
  await log.close();
}

async function passesBarrier(fixture: LogFixture): Promise<void> {
  const { log, ledger } = await opened(fixture);
  await log.barrier();
  for (let i = 1; i <= 20; i++) {
    void log.propose(text('unawaited'));
    await log.propose(text('awaited'));
    await log.barrier();
    assert.ok(ledger.entries.length >= 2 * i);
  }
  await log.close();
}

async function leads(fixture: LogFixture): Promise<void> {
  let lastTerm = 0;
  for (let round = 0; round < 3; round++) {
    const log = fixture.newLog();
    const heard: Leadership[] = [];
    log.onLeadership((leadership) => heard.push(leadership));
    const end = log.onLeadership(() => assert.fail('a listener that was taken off was called'));
    end();
    assert.deepEqual([log.leadership.role, heard], ['follower', []]);
    await log.open(new Ledger());
    await log.propose(text('x'));
    const { leadership } = log;
    const { term } = leadership;
    assert.deepEqual(heard.at(-1), leadership);
    assert.ok(leadership.role === 'leader' || leadership.leaderId !== undefined, 'nobody leads');
    assert.ok(term > lastTerm, `term ${term} after term ${lastTerm}`);
    lastTerm = term;
    await log.close();
    if (leadership.role === 'leader') assert.deepEqual(heard.at(-1), { role: 'follower', term });
  }
}

async function refusesWhenClosed(fixture: LogFixture): Promise<void> {
  const { log, ledger } = await opened(fixture);
  await log.propose(text('before'));
  const unanswered = log.propose(text('maybe')).catch((error: unknown) => error);
  await log.close();
  const { applies } = ledger;
  const isUnavailable = (error: unknown) => error instanceof ApiaryError && error.code === 'unavailable';
  await assert.rejects(log.propose(text('after')), isUnavailable);
  await assert.rejects(log.barrier(), isUnavailable);
  const outcome = await unanswered;
  assert.ok(typeof outcome === 'number' || isUnavailable(outcome), String(outcome));
  assert.equal(ledger.applies, applies);
  const again = await opened(fixture);
  assert.equal(again.ledger.texts[0], 'before');
  assert.ok(!again.ledger.texts.includes('after'));
  await again.log.close();
}
