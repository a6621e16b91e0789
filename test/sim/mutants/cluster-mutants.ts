import type { Mutant } from './mutation.js';

/** Each breaks one promise of the managers or the agents. */
export const CLUSTER_MUTANTS: readonly Mutant[] = [
  {
    name: 'a replacement does not wait for its predecessor to end',
    file: 'manager/core/plan/slot-task.ts',
    from: 'const waits = later || stoppingIn(slot, draft).length > 0;',
    to: 'const waits = later;',
  },
  {
    name: 'an update takes one more at a time than it may',
    file: 'manager/core/plan/rollout-policy.ts',
    from: 'parallelism === 0 ? Number.POSITIVE_INFINITY : parallelism',
    to: 'parallelism === 0 ? Number.POSITIVE_INFINITY : parallelism + 1',
  },
  {
    name: 'an update goes on while its last task waits for a node',
    file: 'manager/core/plan/rollout.ts',
    from: '(hasNode || this.servesBehind(slot))',
    to: 'hasNode',
  },
  {
    name: 'a rollback forgets what the update before it took away',
    file: 'manager/core/plan/rollout.ts',
    from: 'const before = newest === -1 ? [] : slot.tasks.slice(newest);',
    to: 'const before = slot.tasks.filter((task) => !this.#isCurrent(task));',
  },
  {
    name: 'start-first stops the old task before the new one runs',
    file: 'manager/core/plan/reconcile.ts',
    from: 'if (isRunning(fit) && old !== undefined) draft.stop(old);',
    to: 'if (old !== undefined) draft.stop(old);',
  },
  {
    name: 'tasks count on a node that is down',
    file: 'manager/core/plan/slot.ts',
    from: "return node === undefined || node.status.state === 'down';",
    to: 'return node === undefined;',
  },
  {
    name: 'a task that is superseded before it had a node never ends',
    file: 'manager/core/plan/draft.ts',
    from: "return this.#end(task, 'shutdown', 'superseded before it had a node');",
    to: "return this.setDesired(task, 'shutdown');",
  },
  {
    name: 'pending tasks are not tried again',
    file: 'manager/core/plan/schedule.ts',
    from: 'for (const committed of draft.view.pendingTasks()) {',
    to: 'for (const committed of draft.view.pendingTasks().slice(1)) {',
  },
  {
    name: 'a job begins more tasks at a time than it may',
    file: 'manager/core/plan/job.ts',
    from: 'toBegin.slice(0, Math.max(0, most - underWay))',
    to: 'toBegin.slice(0, most)',
  },
  {
    name: 'what was planned on one spec undoes the next',
    file: 'manager/core/store/apply-change.ts',
    from: '} else if (change.ifVersion !== undefined && ![change.ifVersion, landing.index].includes(service.meta.version)) {',
    to: '} else if (change.id === undefined) {',
  },
  {
    name: 'a task that is told to end holds nothing any more',
    file: 'manager/core/store/node-usage.ts',
    from: "if (isTerminal(task.status.state) || rankOf(task.status.state) < rankOf('assigned')) return;",
    to: "if (isTerminal(task.status.state) || rankOf(task.status.state) < rankOf('assigned') || rankOf(task.desiredState) > rankOf('running')) return;",
  },
  {
    name: 'a desired state that moves is not sent',
    file: 'manager/core/dispatch/assignments.ts',
    from: 'if (sent?.tasks.get(task.id) !== task.desiredState) assignments.tasks.push(task);',
    to: 'if (!sent?.tasks.has(task.id)) assignments.tasks.push(task);',
  },
  {
    name: 'a silent node is waited for for ever',
    file: 'manager/core/dispatch/liveness.ts',
    from: 'expect(id: string, dueAtMs: number): void {\n    this.#dueAtMs.set(id, dueAtMs);',
    to: 'expect(id: string, dueAtMs: number): void {\n    this.#dueAtMs.set(id, dueAtMs + 3_600_000);',
  },
  {
    name: 'a report of another node is believed',
    file: 'manager/core/dispatch/observation.ts',
    from: 'if (task === undefined || task.nodeId !== observation.nodeId) continue;',
    to: 'if (task === undefined || task.nodeId === observation.nodeId) continue;',
  },
  {
    name: 'a node never hears of its role',
    file: 'manager/core/dispatch/told-role.ts',
    from: 'return effectiveRole(node);',
    to: 'return node.role;',
  },
  {
    name: 'an agent keeps what the managers have forgotten',
    file: 'worker/core/assignments.ts',
    from: 'const tasks = new Map(message.complete ? [] : this.#tasks);',
    to: 'const tasks = new Map(this.#tasks);',
  },
  {
    name: 'a task is said to have ended while its container still does',
    file: 'worker/core/task-life.ts',
    from: "if (desiredState === 'shutdown') return running ? to(status.state, 'stop') : to('shutdown');",
    to: "if (desiredState === 'shutdown') return running ? to('shutdown', 'stop') : to('shutdown');",
  },
  {
    name: 'a report that was under way is lost with its session',
    file: 'worker/core/status-outbox.ts',
    from: 'const again = new Map(Array.from(this.#underWay, ([taskId, status]) => [taskId, { status, urgent: true }]));',
    to: 'const again = new Map(this.#waiting);',
  },
  {
    name: 'an agent that lost its managers asks one that knows no leader for ever',
    file: 'worker/core/manager-search.ts',
    from: '!this.#lost.has(manager) && !this.#asked.has(manager)',
    to: '!this.#lost.has(manager)',
  },
];
