import assert from 'node:assert/strict';
import { TASK_LABELS } from '../core/index.js';
import type { ContainerConfig, Engine, EngineContainer, EngineEvent, LogsOptions, OutputLine } from './engine.js';

/** What the suite needs of the host under test. */
export interface EngineSubject {
  engine: Engine;
  /** An image that is on the host, with busybox in it, of which no registry knows. */
  image: string;
  /** A port that nobody on the host uses. */
  freePort: number;
}

/** What every engine behind the port must do, each as a case that throws when it does not. */
export function engineConformance({
  engine,
  image,
  freePort,
}: EngineSubject): { name: string; run(): Promise<void> }[] {
  const never = () => new AbortController().signal;
  let count = 0;

  function config(cmd: string[], body: Record<string, unknown> = {}): ContainerConfig {
    const taskId = `conformance${++count}`;
    const labels = { [TASK_LABELS.taskId]: taskId, [TASK_LABELS.nodeId]: 'conformance' };
    return { name: `c.1.${taskId}`, taskId, body: { Image: image, Cmd: cmd, Labels: labels, ...body } };
  }

  async function started(cmd: string[], body: Record<string, unknown> = {}): Promise<EngineContainer> {
    const id = await engine.create(config(cmd, body));
    await engine.start(id);
    return found(id);
  }

  async function found(id: string): Promise<EngineContainer> {
    const container = await engine.inspect(id);
    assert.ok(container !== undefined, `container ${id} is there`);
    return container;
  }

  async function gone(id: string): Promise<void> {
    await engine.stop(id, 0);
    await engine.remove(id);
    assert.equal(await engine.inspect(id), undefined);
  }

  const refuses = (code: string, message: RegExp) => (error: { code?: string; message?: string }) => {
    assert.equal(error.code, code);
    assert.match(error.message ?? '', message);
    return true;
  };

  return [
    {
      name: 'it tells what the host is and has',
      async run() {
        await engine.ping();
        const { Hostname, Platform, Resources, Engine: software } = await engine.describe();
        assert.ok(Hostname !== '' && Platform.OS !== '' && Platform.Architecture !== '');
        assert.ok(Resources.NanoCPUs >= 1e9 && Resources.MemoryBytes > 1e6);
        assert.ok(software.EngineVersion !== '');
      },
    },
    {
      name: 'a local image serves when no registry can be reached, however many want it at once',
      async run() {
        await Promise.all(Array.from({ length: 20 }, () => engine.pull(image, never())));
      },
    },
    {
      name: 'an image that is nowhere is refused in the words of the engine',
      async run() {
        await assert.rejects(
          engine.pull('no-such-image:1', never()),
          refuses('not-found', /^No such image: no-such-image:1$/),
        );
        const create = engine.create(config(['true'], { Image: 'no-such-image:1' }));
        await assert.rejects(create, refuses('not-found', /No such image: no-such-image:1/));
      },
    },
    {
      name: 'a pull that is called off ends with the reason',
      async run() {
        const reason = new Error('called off');
        await assert.rejects(engine.pull('no-such-image:2', AbortSignal.abort(reason)), (error) => error === reason);
      },
    },
    {
      name: 'a container is created, started, stopped and removed, each as often as asked',
      async run() {
        const wanted = config(['sleep', '1d']);
        const id = await engine.create(wanted);
        assert.equal(await engine.create(wanted), id, 'its task finds it again');
        const created = await found(id);
        assert.deepEqual([created.state, created.pid, created.taskId], ['created', 0, wanted.taskId]);
        assert.equal(created.nodeId, 'conformance');
        await engine.start(id);
        await engine.start(id);
        const running = await found(id);
        assert.equal(running.state, 'running');
        assert.ok(running.pid > 0);
        assert.equal(await engine.create(wanted), id);
        await engine.stop(id, 0);
        await engine.stop(id, 0);
        assert.deepEqual([(await found(id)).state, (await found(id)).pid], ['exited', 0]);
        await engine.remove(id);
        await engine.remove(id);
        await engine.stop(id, 0);
        assert.equal(await engine.inspect(id), undefined);
      },
    },
    {
      name: 'a name that another task has is not taken over',
      async run() {
        const first = config(['sleep', '1d']);
        const id = await engine.create(first);
        const other = { ...config(['sleep', '1d']), name: first.name };
        await assert.rejects(engine.create(other), refuses('already-exists', /in use/));
        await gone(id);
      },
    },
    {
      name: 'it tells that a container was started, and that it ended, and how',
      async run() {
        const events = await listen(engine);
        const container = await started(['sh', '-c', 'exit 3']);
        await events.next((event) => event.kind === 'started' && event.containerId === container.id);
        await events.next((event) => event.kind === 'ended' && event.containerId === container.id);
        const ended = await found(container.id);
        assert.deepEqual([ended.state, ended.exitCode, ended.taskId], ['exited', 3, container.taskId]);
        await engine.remove(container.id);
        const removed = await events.next((event) => event.kind === 'removed' && event.containerId === container.id);
        assert.deepEqual([removed.taskId, removed.nodeId], [container.taskId, 'conformance']);
        events.close();
      },
    },
    {
      name: 'a process that cannot start says why',
      async run() {
        const id = await engine.create(config(['/no-such-program']));
        await assert.rejects(engine.start(id), (error: { code?: string; message?: string }) => {
          assert.notEqual(error.code, 'unavailable');
          assert.match(error.message ?? '', /no-such-program/);
          return true;
        });
        assert.deepEqual([(await found(id)).state, (await found(id)).exitCode], ['created', 127]);
        await engine.remove(id);
      },
    },
    {
      name: 'a process that does not heed the asking is killed after its grace',
      async run() {
        const container = await started(['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], {
          StopSignal: 'SIGTERM',
        });
        await engine.stop(container.id, 1_000);
        assert.deepEqual([(await found(container.id)).state, (await found(container.id)).exitCode], ['exited', 137]);
        await engine.remove(container.id);
      },
    },
    {
      name: 'it tells how healthy a container is',
      async run() {
        const check = { Interval: 2e8, Timeout: 1e9, Retries: 1 };
        const events = await listen(engine);
        const well = await started(['sleep', '1d'], { Healthcheck: { Test: ['CMD', 'true'], ...check } });
        assert.equal(well.health, 'starting');
        await events.next((event) => event.kind === 'health' && event.containerId === well.id);
        assert.equal((await found(well.id)).health, 'healthy');
        const ill = await started(['sleep', '1d'], { Healthcheck: { Test: ['CMD', 'false'], ...check } });
        await events.next((event) => event.kind === 'health' && event.containerId === ill.id);
        assert.equal((await found(ill.id)).health, 'unhealthy');
        await engine.stop(well.id, 0);
        assert.equal((await found(well.id)).health, undefined, 'what does not run has no health');
        events.close();
        await gone(well.id);
        await gone(ill.id);
      },
    },
    {
      name: 'it tells which ports of the host a container has',
      async run() {
        const container = await started(['sleep', '1d'], {
          ExposedPorts: { '80/tcp': {}, '81/udp': {} },
          HostConfig: { PortBindings: { '80/tcp': [{ HostPort: String(freePort) }] } },
        });
        assert.deepEqual(container.ports, [{ protocol: 'tcp', targetPort: 80, publishedPort: freePort }]);
        await gone(container.id);
      },
    },
    {
      name: 'what a container writes is read by stream, from the end, since a moment, and with a terminal',
      async run() {
        const script = 'echo one; sleep 0.01; echo two >&2; sleep 0.01; printf three';
        for (const body of [{}, { Tty: true }]) {
          const events = await listen(engine);
          const { id } = await started(['sh', '-c', script], body);
          await events.next(({ kind, containerId }) => kind === 'ended' && containerId === id);
          events.close();
          const all = await read(engine, id, {});
          assert.deepEqual(all.map(sayLine), ['out one', 'Tty' in body ? 'out two' : 'err two', 'out three']);
          assert.deepEqual(
            [...all].sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1)),
            all,
            'in order of time',
          );
          assert.ok(all.every(({ timestamp }) => Math.abs(Date.parse(timestamp) - Date.now()) < 60_000));
          assert.deepEqual((await read(engine, id, { tail: 1 })).map(sayLine), ['out three']);
          if (!('Tty' in body)) assert.deepEqual((await read(engine, id, { stdout: false })).map(sayLine), ['err two']);
          const [, second] = all;
          const since = `${Math.floor(Date.parse(second?.timestamp ?? '') / 1000)}${second?.timestamp.slice(19, 29)}`;
          assert.equal((await read(engine, id, { since })).length, 2);
          await gone(id);
          await assert.rejects(read(engine, id, {}), refuses('not-found', /No such container/));
        }
      },
    },
    {
      name: 'a container is followed until it ends, or nobody wants to know any more',
      async run() {
        const talker = ['sh', '-c', 'trap "exit 0" TERM; i=0; while :; do echo $((i += 1)); sleep 0.05; done'];
        const { id } = await started(talker);
        const aborter = new AbortController();
        const seen: string[] = [];
        for await (const lines of engine.logs(id, LOGS, aborter.signal)) {
          seen.push(...lines.map(sayLine));
          if (seen.length >= 3) aborter.abort();
        }
        assert.deepEqual(seen.slice(0, 3), ['out 1', 'out 2', 'out 3']);
        const toTheEnd = read(engine, id, { follow: true });
        await engine.stop(id, 5_000);
        assert.ok((await toTheEnd).length >= 3);
        await gone(id);
      },
    },
    {
      name: 'what carries the label of a task is found again, and nothing else',
      async run() {
        const [first, second] = [await started(['sleep', '1d']), await started(['sh', '-c', 'exit 1'])];
        const bare = await engine.create({ ...config(['sleep', '1d']), body: { Image: image, Cmd: ['sleep', '1d'] } });
        const adopted = (await engine.adopt()).map(({ id }) => id);
        assert.deepEqual([...adopted].sort(), [first.id, second.id].sort());
        for (const id of [first.id, second.id, bare]) await gone(id);
      },
    },
  ];
}

const LOGS: LogsOptions = { follow: true, stdout: true, stderr: true, since: '', tail: -1 };

async function read(engine: Engine, id: string, options: Partial<LogsOptions>): Promise<OutputLine[]> {
  const all: OutputLine[] = [];
  const asked = { ...LOGS, follow: false, ...options };
  for await (const lines of engine.logs(id, asked, new AbortController().signal)) all.push(...lines);
  return all;
}

const sayLine = ({ stream, data }: OutputLine): string =>
  `${stream.slice(3)} ${Buffer.from(data).toString().trimEnd()}`;

/** The engine's events from now on, to be waited for. */
async function listen(engine: Engine): Promise<{
  next(wanted: (event: EngineEvent) => boolean): Promise<EngineEvent>;
  close(): void;
}> {
  const heard: EngineEvent[] = [];
  let wake = () => {};
  const watch = await engine.watch(
    (event) => {
      heard.push(event);
      wake();
    },
    (reason) => assert.fail(`the engine was lost: ${reason}`),
  );
  return {
    close: () => watch.close(),
    async next(wanted) {
      for (;;) {
        const event = heard.find(wanted);
        if (event !== undefined) return event;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
