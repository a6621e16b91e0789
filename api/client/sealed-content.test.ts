import { randomBytes } from 'node:crypto';
import t from 'tap';
import { ContentOpener, contentSealer } from './index.js';

t.test('a content opens for whom it was sealed, under its label and unchanged, and for nobody else', async (t) => {
  const agent = new ContentOpener();
  const sealer = contentSealer(agent.contentKey);
  for (const data of [Buffer.alloc(0), Buffer.from('words'), randomBytes(1_024_000)]) {
    const sealed = sealer.seal(data, 'id');
    t.notOk(data.length > 0 && sealed.includes(data));
    t.ok(agent.open(sealed, 'id').equals(data));
    t.notOk(sealer.seal(data, 'id').equals(sealed), 'never twice the same');
    const refusal = { code: 'invalid-argument', message: /was not sealed for this session/ };
    t.throws(() => agent.open(sealed, 'other'), refusal);
    t.throws(() => new ContentOpener().open(sealed, 'id'), refusal);
    for (const at of [0, 40, sealed.length - 1]) {
      const changed = Buffer.from(sealed);
      changed[at] = (changed[at] ?? 0) ^ 1;
      t.throws(() => agent.open(changed, 'id'), { code: 'invalid-argument' });
    }
    t.throws(() => agent.open(sealed.subarray(0, 59), 'id'), { code: 'invalid-argument' });
  }
});

t.test('what is no key is refused', async (t) => {
  for (const key of [Buffer.alloc(0), Buffer.alloc(31), Buffer.alloc(33)]) {
    t.throws(() => contentSealer(key), { code: 'invalid-argument', message: 'a content key has 32 bytes' });
  }
  t.throws(() => contentSealer(Buffer.alloc(32)), 'one of no order, with which everybody shares the same secret');
});
