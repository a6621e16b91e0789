import type { ServerResponse } from 'node:http';
import { ApiaryError } from '@apiary/std';
import { serviceObject, taskObject } from '../../core/engine-api/index.js';
import { PendingReasons } from '../../core/plan/index.js';
import type { LocalNode, Replica } from '../ports.js';

/** Each watcher costs a snapshot per change: more than this many are refused. */
const MOST_WATCHERS = 512;
/** Changes come in bursts (a batch of status reports after another): one snapshot shows them all. */
const GATHER_MS = 20;

/** How often it is looked whether this node is still a manager. */
const MANAGER_CHECK_MS = 1_000;

/** The streams of `GET /apiary/v1/watch`. */
export class ServiceWatches {
  readonly #open = new Set<ServerResponse>();

  /**
   * Writes the service with its tasks now, and again after every change of either, one JSON object a line. A client
   * that reads slowly gets fewer, newer snapshots; never a queue of old ones. Ends when the service is removed, and when
   * this node is a manager no more; who leads makes no difference.
   *
   * @throws ApiaryError `resource-exhausted` when too many watch already
   */
  start(node: Pick<LocalNode, 'replica'>, serviceId: string, response: ServerResponse): void {
    if (this.#open.size >= MOST_WATCHERS) {
      throw new ApiaryError('resource-exhausted', `too many watchers (${MOST_WATCHERS}) on this node: try another one`);
    }
    const replica = node.replica();
    // The client may have gone while the service was looked up.
    if (response.closed) return;
    this.#open.add(response);
    let timer: NodeJS.Timeout | undefined;
    let clogged = false;
    let changed = false;

    const send = () => {
      timer = undefined;
      if (response.writableEnded) return;
      changed = clogged;
      if (clogged) return;
      const line = snapshot(replica, serviceId);
      if (line === undefined) response.end();
      else clogged = !response.write(line);
    };
    const unsubscribe = replica.subscribe((touched) => {
      if (timer !== undefined) return;
      if (touched.services.has(serviceId) || touched.taskServices.has(serviceId)) timer = setTimeout(send, GATHER_MS);
    });
    const check = setInterval(() => {
      if (!isManagedBy(node, replica)) response.end();
    }, MANAGER_CHECK_MS);
    response.on('drain', () => {
      clogged = false;
      if (changed && timer === undefined) send();
    });
    response.once('close', () => {
      unsubscribe();
      clearTimeout(timer);
      clearInterval(check);
      this.#open.delete(response);
    });
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    send();
  }

  /** Ends all streams, when the server stops. */
  close(): void {
    for (const response of this.#open) response.end();
  }
}

/** Whether what the node knows is still this copy of the state. */
function isManagedBy(node: Pick<LocalNode, 'replica'>, replica: Replica): boolean {
  try {
    return node.replica() === replica;
  } catch (error) {
    if (error instanceof ApiaryError) return false;
    throw error;
  }
}

function snapshot({ view }: Replica, serviceId: string): string | undefined {
  const service = view.service(serviceId);
  if (service === undefined) return undefined;
  const records = view.tasksOfService(serviceId);
  const reasons = new PendingReasons(view);
  const tasks = records.map((task) =>
    taskObject(task, view.spec(task.serviceId, task.specVersion), view, reasons.of(task)),
  );
  const current = records.filter((task) => task.specVersion === service.specVersion).map(({ id }) => id);
  return `${JSON.stringify({ service: serviceObject(service, view), tasks, current })}\n`;
}
