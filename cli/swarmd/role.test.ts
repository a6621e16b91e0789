import { SeededRng, VirtualClock } from '@apiary/std';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { RoleKeeper } from './role-keeper.js';
import { nextRoleStep, type RoleFacts, type RoleStep } from './role-step.js';

const ROLES = ['worker', 'manager'] as const;
const FACTS: RoleFacts[] = ROLES.flatMap((told) =>
  ROLES.flatMap((kept) => ROLES.flatMap((certified) => [true, false].map((runs) => ({ told, kept, certified, runs })))),
);

/** What a step leaves behind; a `renew` gets the role that the managers have on record, which may not be what was told. */
function after(facts: RoleFacts, step: RoleStep, onRecord: 'worker' | 'manager'): RoleFacts {
  if (step === 'become-worker') return { ...facts, kept: 'worker', runs: false };
  if (step === 'become-manager') return { ...facts, kept: 'manager', runs: true };
  return { ...facts, certified: onRecord };
}

t.test('from wherever a node stands, the steps lead to what it was told to be, and end there', async (t) => {
  for (const start of FACTS) {
    let facts = start;
    const steps: RoleStep[] = [];
    for (let step = nextRoleStep(facts); step !== undefined && steps.length < 9; step = nextRoleStep(facts)) {
      // A manager never runs on a worker's certificate, nor with a log while the leader says that it is none.
      if (step === 'become-manager') t.equal(facts.certified, 'manager');
      if (step === 'renew' && facts.told === 'worker') t.notOk(facts.runs);
      steps.push(step);
      facts = after(facts, step, facts.told ?? 'worker');
    }
    const { told } = start;
    t.match(facts, { kept: told, certified: told, runs: told === 'manager' }, `${JSON.stringify(start)}: ${steps}`);
    t.ok(steps.length <= 2, `${JSON.stringify(start)}: ${steps}`);
    t.equal(nextRoleStep({ ...start, told: undefined }), undefined, 'nothing happens before the leader has spoken');
  }
});

function keeper(t: Test, start: Omit<RoleFacts, 'told'>) {
  const clock = new VirtualClock(0);
  const done: string[] = [];
  let facts = start;
  let told: 'worker' | 'manager' = 'worker';
  /** What a step waits for, and how it ends. */
  let gate: (step: RoleStep) => Promise<void> = async () => {};
  const run = (step: RoleStep) => async () => {
    await gate(step);
    done.push(step);
    facts = after({ ...facts, told }, step, told);
  };
  const roles = new RoleKeeper({
    facts: () => facts,
    steps: { renew: run('renew'), 'become-manager': run('become-manager'), 'become-worker': run('become-worker') },
    clock,
    rng: new SeededRng(1),
    logger: pino({ level: 'silent' }),
  });
  t.teardown(() => roles.stop());
  const settled = async () => {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  return {
    clock,
    done,
    roles,
    settled,
    tell: (role: 'worker' | 'manager') => {
      told = role;
      roles.tell(role);
    },
    setGate: (next: typeof gate) => {
      gate = next;
    },
  };
}

const WORKER = { kept: 'worker', certified: 'worker', runs: false } as const;

t.test('a step that fails is tried again, later and later, until it works', async (t) => {
  const { clock, done, roles, settled, tell, setGate } = keeper(t, WORKER);
  let tries = 0;
  setGate(async () => {
    if (++tries < 4) throw new Error('the port is taken');
  });
  tell('manager');
  await settled();
  t.equal(roles.error, 'cannot renew: the port is taken');
  for (const waitMs of [500, 1000, 2000]) {
    clock.advance(waitMs);
    await settled();
  }
  t.same(done, ['renew', 'become-manager']);
  t.equal(roles.error, '');
});

t.test('what is told while a step is under way is followed after it', async (t) => {
  const { done, settled, tell, setGate } = keeper(t, WORKER);
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  setGate((step) => (step === 'become-manager' ? opened : Promise.resolve()));
  tell('manager');
  await settled();
  tell('worker');
  tell('manager');
  tell('worker');
  await settled();
  t.same(done, ['renew']);
  open();
  await settled();
  t.same(done, ['renew', 'become-manager', 'become-worker', 'renew']);
});

t.test('a retry that falls due while something is done aside comes after that', async (t) => {
  const { clock, done, roles, settled, tell, setGate } = keeper(t, WORKER);
  setGate(async () => {
    throw new Error('not now');
  });
  tell('manager');
  await settled();
  setGate(async () => {});
  let end = () => {};
  const aside = roles.aside(
    () =>
      new Promise<void>((resolve) => {
        end = resolve;
      }),
  );
  clock.advance(60_000);
  await settled();
  t.same(done, []);
  end();
  await aside;
  await settled();
  t.same(done, ['renew', 'become-manager']);
});

t.test('what did not work and is wanted no more is no error any more', async (t) => {
  const { roles, settled, tell, setGate } = keeper(t, WORKER);
  setGate(async () => {
    throw new Error('not now');
  });
  tell('manager');
  await settled();
  t.equal(roles.error, 'cannot renew: not now');
  tell('worker');
  await settled();
  t.equal(roles.error, '');
});

t.test('what waits for a step is not done any more once it is stopped', async (t) => {
  const { roles, settled, tell, setGate } = keeper(t, WORKER);
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  setGate(() => opened);
  tell('manager');
  let hasBegun = false;
  const refused = t.rejects(
    roles.aside(async () => {
      hasBegun = true;
    }),
    { code: 'unavailable' },
  );
  const stopped = roles.stop();
  open();
  await stopped;
  await refused;
  await settled();
  t.notOk(hasBegun);
});

t.test('nothing begins once it is stopped', async (t) => {
  const { clock, done, roles, settled, tell, setGate } = keeper(t, WORKER);
  setGate(async () => {
    throw new Error('not now');
  });
  tell('manager');
  await settled();
  await roles.stop();
  setGate(async () => {});
  clock.advance(60_000);
  tell('worker');
  tell('manager');
  await settled();
  t.same(done, []);
});
