import { isTerminal, type Service, type Task } from '@apiary/api/model';

/** How far one run of a job is. Counted in slots; in nodes for a global job. */
export interface JobProgress {
  total: number;
  /** A task has ended well. */
  complete: number;
  /** A task is under way, or waits for its start. */
  active: number;
  running: number;
  /** Nothing is tried any more: the restart policy has had enough. */
  givenUp: number;
  /** How many tasks may be under way at once; undefined for as many as there are. */
  most: number | undefined;
}

export function isJob({ Spec: { Mode } }: Service): boolean {
  return Mode?.ReplicatedJob !== undefined || Mode?.GlobalJob !== undefined;
}

/** Whether a task is of the job's run of now, and not of one before. */
export function isOfThisRun({ JobStatus }: Service, { JobIteration }: Task): boolean {
  return (JobIteration?.Index ?? 0) === (JobStatus?.JobIteration.Index ?? 0);
}

/** @param tasks  all of the service's */
export function jobProgressOf(service: Service, tasks: readonly Task[]): JobProgress {
  const replicated = service.Spec.Mode?.ReplicatedJob;
  const slots = new Map<string, Task[]>();
  for (const task of tasks.filter((each) => isOfThisRun(service, each))) {
    const slot = replicated === undefined ? (task.NodeID ?? '') : `${task.Slot ?? 0}`;
    slots.set(slot, [...(slots.get(slot) ?? []), task]);
  }
  const all = [...slots.values()];
  const isLive = ({ DesiredState, Status }: Task): boolean =>
    (DesiredState === 'complete' || DesiredState === 'ready') && !isTerminal(Status.State);
  const isComplete = (slot: Task[]): boolean => slot.some(({ Status }) => Status.State === 'complete');
  const open = all.filter((slot) => !isComplete(slot));
  const active = open.filter((slot) => slot.some(isLive));
  const { MaxConcurrent, TotalCompletions = MaxConcurrent ?? 1 } = replicated ?? {};
  return {
    total: replicated === undefined ? all.length : TotalCompletions,
    complete: all.length - open.length,
    active: active.length,
    running: active.filter((slot) => slot.some((task) => isLive(task) && task.Status.State === 'running')).length,
    givenUp: open.filter((slot) => slot.every(({ DesiredState }) => DesiredState === 'shutdown')).length,
    most: replicated === undefined ? undefined : (MaxConcurrent ?? 1),
  };
}
