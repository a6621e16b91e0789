import { read, type ServiceSpec, ServiceSpecSchema } from '@apiary/api/model';
import { invariant, SeededRng } from '@apiary/std';
import { type Change, Store } from '../store/index.js';
import { createService, type Decision, updateService } from './index.js';

export const NOW_MS = 1_700_000_000_000;

/** A store to which requests are made, each of which happens. */
export class Cluster {
  readonly store = new Store();
  readonly rng = new SeededRng(1);

  commit<R>({ guards, changes, result }: Decision<R>): R {
    const applied = this.store.apply(this.store.appliedIndex + 1, { atMs: NOW_MS, guards, changes });
    invariant(applied.result.ok, 'a request happens that nothing came in the way of');
    return result;
  }

  create(spec: unknown): string {
    return this.commit(createService(this.store, service(spec), this.rng));
  }

  update(id: string, spec: unknown, { version = this.versionOf(id), rollback = false } = {}): string {
    return this.commit(updateService(this.store, { id, version, spec: service(spec), rollback }, NOW_MS));
  }

  versionOf(id: string): number {
    return (this.store.service(id) ?? this.store.node(id) ?? this.store.cluster())?.meta.version ?? 0;
  }

  apply(...changes: Change[]): void {
    this.commit({ guards: [], changes, result: undefined });
  }
}

/** @throws ApiaryError `invalid-argument` for what is no spec */
export function service(spec: unknown): ServiceSpec {
  return read(ServiceSpecSchema, spec, 'service spec');
}

/** A spec with some of its container's, its task's or its own keys replaced. */
export function spec(own: object = {}, template: object = {}, container: object = {}): object {
  return {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Image: 'busybox:test', ...container }, ...template },
    Mode: { Replicated: { Replicas: 0 } },
    ...own,
  };
}
