import { ApiaryError } from '@apiary/std';
import { pino } from 'pino';
import t from 'tap';
import type { Change } from '../../core/store/change.js';
import { Dispatcher } from './dispatcher.js';
import { ListReplica, SettableClock } from './list-replica.js';

function joined(id: string, role: 'worker' | 'manager' = 'worker'): Change {
  return { type: 'node-create', node: { id, role, spec: {}, status: { state: 'unknown', message: '', addr: '' } } };
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

t.test('a node that joined and never opened a session is removed, by a leader that waited in full', async (t) => {
  const clock = new SettableClock(Date.now());
  const replica = new ListReplica(clock);
  const dispatcher = new Dispatcher({ replica, clock, log: pino({ level: 'silent' }) });
  t.teardown(() => dispatcher.close());
  await settled();
  const ids = () => [...replica.view.nodes()].map(({ id }) => id).sort();
  replica.apply([joined('manager', 'manager'), joined('down'), joined('lost')]);
  // One that came, without an engine, and went.
  const down = { state: 'down' as const, message: 'engine unavailable: x', addr: '' };
  replica.apply([{ type: 'node-status', id: 'down', status: down }]);
  clock.advance(599_999);
  replica.apply([joined('later')]);
  clock.skewMs = 3_600_000;
  replica.become({ role: 'follower', term: 2 });
  clock.advance(600_000);
  await settled();
  t.same(ids(), ['down', 'later', 'lost', 'manager'], 'only a leader removes nodes');

  replica.become({ role: 'leader', term: 3 });
  await settled();
  clock.advance(300_000);
  replica.apply([joined('latest')]);
  clock.advance(299_999);
  await settled();
  t.same(ids(), ['down', 'later', 'latest', 'lost', 'manager'], 'its agent had to find the new leader first');
  replica.apply([{ type: 'node-status', id: 'later', status: { state: 'ready', message: '', addr: '' } }]);
  replica.refusal = new ApiaryError('unavailable', 'no quorum');
  clock.advance(1);
  await settled();
  t.ok(replica.view.node('lost'), 'what cannot be committed is tried again');
  replica.refusal = undefined;
  clock.advance(300_000);
  await settled();
  t.same(ids(), ['down', 'later', 'lost', 'manager'], 'each has its own time');
  clock.advance(300_000);
  await settled();
  t.same(ids(), ['down', 'later', 'manager'], 'a manager, and whatever was heard of once, stay');
});
