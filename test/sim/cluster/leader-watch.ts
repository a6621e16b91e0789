import { isTerminal, rankOf } from '@apiary/api/model';
import type { NodeRecord, TaskRecord, View } from '@apiary/manager/core';
import { demand } from '../raft/oracle.js';
import { isConfined } from './operator.js';
import type { SimulatedCluster } from './simulated-cluster.js';

/** A leader that has led for so long knows of everything that was so for as long: its grace for agents is 10 s. */
const KNOWN_AFTER_MS = 20_000;

/** What a leader must have seen and done by now: that a node is silent, and that nothing may be left to one that is down. */
export class LeaderWatch {
  readonly #cluster: SimulatedCluster;
  #term = 0;
  #termSinceMs = 0;
  readonly #silentSinceMs = new Map<string, number>();
  readonly #downSinceMs = new Map<string, number>();
  readonly #misfitSinceMs = new Map<string, number>();

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
  }

  check(): void {
    const { leader, nowMs, network, hosts } = this.#cluster;
    const term = leader?.replica.leadership.term ?? 0;
    if (term !== this.#term) this.#termSinceMs = nowMs;
    this.#term = term;
    const leaderHost = hosts.find(({ manager }) => manager !== undefined && manager === leader);
    if (leader === undefined || leaderHost === undefined) return;
    for (const node of leader.replica.view.nodes()) {
      const host = this.#cluster.hostOf(node.id);
      const isSilent = host?.process === undefined || network.isCut(host.name, leaderHost.name);
      const isDown = node.status.state === 'down';
      // From when it was last said to be down: it may have been heard for a moment between two looks.
      const silentMs = lasted(this.#silentSinceMs, node.id, isSilent && !isDown, nowMs);
      const downMs = lasted(this.#downSinceMs, node.id, isDown, nowMs);
      const misfit = misfitOn(leader.replica.view, node);
      const misfitMs = lasted(this.#misfitSinceMs, node.id, misfit !== undefined, nowMs);
      if (nowMs - this.#termSinceMs < KNOWN_AFTER_MS || node.status.state === 'unknown') continue;
      const name = host?.name ?? node.id;
      demand(silentMs < KNOWN_AFTER_MS, `${name} is silent for ${silentMs} ms, and nobody says that it is down`);
      demand(misfitMs < KNOWN_AFTER_MS, `${name} is to run what it would not take any more: ${misfit}`);
      if (downMs < KNOWN_AFTER_MS) continue;
      const left = leader.replica.view.tasksOfNode(node.id).find(({ desiredState, status }) => {
        return rankOf(desiredState) <= rankOf('running') && !isTerminal(status.state);
      });
      demand(left === undefined, `${name} is down for ${downMs} ms, and ${left?.id} is still to run there`);
    }
  }
}

/** What a node is to run and would not take any more, unless it waits for the one that is to start before it ends. */
function misfitOn(view: View, node: NodeRecord): string | undefined {
  const { NanoCPUs } = node.description?.Resources ?? {};
  if (NanoCPUs === undefined || (node.spec.Availability ?? 'active') !== 'active') return undefined;
  const isLeft = node.spec.Labels?.['side'] === 'left';
  let reserved = 0;
  let mayWait = false;
  for (const task of view.tasksOfNode(node.id).filter(isMeantToRun)) {
    if (view.service(task.serviceId) === undefined || rankOf(task.status.state) < rankOf('assigned')) continue;
    const { template, serviceName } = view.spec(task.serviceId, task.specVersion);
    const waits = isAboutToBeReplaced(view, task);
    const isWrong = isLeft && isConfined(view, task);
    if (isWrong && !waits) return `${serviceName} is not for nodes on the left`;
    mayWait ||= waits;
    reserved += template.Resources?.Reservations?.NanoCPUs ?? 0;
  }
  return reserved > NanoCPUs && !mayWait ? `${reserved} nano-CPUs, of ${NanoCPUs}` : undefined;
}

function isMeantToRun({ desiredState, status }: TaskRecord): boolean {
  return rankOf(desiredState) <= rankOf('running') && !isTerminal(status.state);
}

/** Also by one that failed before it ran, and that will be tried again: till then the one that is to be replaced stays. */
function isAboutToBeReplaced(view: View, { id, serviceId, slot, meta }: TaskRecord): boolean {
  if (view.service(serviceId)?.spec.Mode?.Replicated === undefined) return false;
  const others = view.tasksOfService(serviceId).filter((each) => each.slot === slot && each.id !== id);
  return others.some((each) => isMeantToRun(each) || each.meta.createdAtMs > meta.createdAtMs);
}

/** For how long something has been so. */
function lasted(since: Map<string, number>, id: string, isSo: boolean, nowMs: number): number {
  if (!isSo) since.delete(id);
  else if (!since.has(id)) since.set(id, nowMs);
  return nowMs - (since.get(id) ?? nowMs);
}
