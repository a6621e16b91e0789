import { SeededRng } from '@apiary/std';
import t from 'tap';
import { ManagerSearch } from './manager-search.js';

const KNOWN = ['a:1', 'b:1', 'c:1'];

t.test('agents spread over the managers', (t) => {
  const first = Array.from({ length: 300 }, (_, seed) => new ManagerSearch(new SeededRng(seed)).next(KNOWN));
  for (const manager of KNOWN) t.ok(first.filter((each) => each === manager).length > 60, manager);
  t.end();
});

t.test('the leader that a manager names is asked at once, and it costs no patience', (t) => {
  const search = new ManagerSearch(new SeededRng(1));
  t.equal(search.ended({ manager: 'a:1', leaderAddr: 'x:9', durationMs: 3 }), 0);
  t.equal(search.next(KNOWN), 'x:9', 'also one that was not known');
  const waitMs = search.ended({ manager: 'x:9', leaderAddr: undefined, durationMs: 0 });
  t.ok(waitMs > 0 && waitMs <= 100, 'the first failure is the one that comes now');
  t.end();
});

t.test('managers that send on to each other are not followed without a pause', (t) => {
  const search = new ManagerSearch(new SeededRng(1));
  const waits = Array.from({ length: 8 }, (_, i) => {
    const [manager = '', leaderAddr = ''] = i % 2 === 0 ? KNOWN : ['b:1', 'a:1'];
    return search.ended({ manager, leaderAddr, durationMs: 0 });
  });
  t.same(
    waits.map((waitMs) => waitMs > 0),
    [false, false, false, true, false, false, false, true],
  );
  t.end();
});

t.test('a manager that was lost is asked last, and not at once when another still takes it for the leader', (t) => {
  const search = new ManagerSearch(new SeededRng(1));
  const lost = search.next(KNOWN) ?? '';
  t.ok(search.ended({ manager: lost, leaderAddr: undefined, durationMs: undefined }) > 0);
  const second = search.next(KNOWN) ?? '';
  t.not(second, lost);
  search.ended({ manager: second, leaderAddr: '', durationMs: 0 });
  const third = search.next(KNOWN) ?? '';
  t.not(third, lost);
  t.ok(search.ended({ manager: third, leaderAddr: lost, durationMs: 0 }) > 0);
  t.equal(search.next(KNOWN), lost, 'it may be back');
  t.end();
});

t.test('when all were lost, all are asked again', (t) => {
  const search = new ManagerSearch(new SeededRng(1));
  const asked = KNOWN.map(() => {
    const manager = search.next(KNOWN) ?? '';
    search.ended({ manager, leaderAddr: undefined, durationMs: 0 });
    return manager;
  });
  t.same(asked.sort(), KNOWN);
  t.ok(KNOWN.includes(search.next(KNOWN) ?? ''));
  t.equal(search.next([]), undefined);
  t.end();
});

t.test('one that answers, but never knows a leader, is not asked for ever while the others may be back', (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const search = new ManagerSearch(new SeededRng(seed));
    const asked = Array.from({ length: 9 }, () => {
      const manager = search.next(KNOWN) ?? '';
      search.ended({ manager, leaderAddr: manager === 'a:1' ? '' : undefined, durationMs: 0 });
      return manager;
    });
    for (const manager of KNOWN)
      t.equal(asked.filter((each) => each === manager).length, 3, `seed ${seed}: ${manager}`);
  }
  t.end();
});

t.test('an attempt that was kept waiting is followed by the next sooner; a session that lasted starts afresh', (t) => {
  const search = new ManagerSearch(new SeededRng(1));
  t.equal(search.ended({ manager: 'a:1', leaderAddr: '', durationMs: 2_000 }), 0);
  for (let i = 0; i < 10; i++) search.ended({ manager: 'a:1', leaderAddr: '', durationMs: 0 });
  t.ok(search.ended({ manager: 'a:1', leaderAddr: '', durationMs: 0 }) >= 1_000);
  search.succeeded();
  t.ok(search.ended({ manager: 'a:1', leaderAddr: '', durationMs: 0 }) <= 100);
  t.end();
});
