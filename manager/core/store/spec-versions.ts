import { invariant } from '@apiary/std';
import { type Demand, demandOf } from './node-usage.js';
import type { SpecVersion } from './records.js';

/**
 * The spec versions that something needs: a task, or a service as its current or its previous one. Each holder
 * counts once; a version is forgotten with its last holder. A version that was added and has no holder yet is kept.
 */
export class SpecVersions {
  readonly #onChange: (spec: SpecVersion, change: 'added' | 'forgotten') => void;
  readonly #services = new Map<string, Map<number, { spec: SpecVersion; demand: Demand; holders: number }>>();

  constructor(onChange: (spec: SpecVersion, change: 'added' | 'forgotten') => void) {
    this.#onChange = onChange;
  }

  get(serviceId: string, version: number): SpecVersion | undefined {
    return this.#services.get(serviceId)?.get(version)?.spec;
  }

  /** What each task of the version takes from its node, worked out once. */
  demandOf(serviceId: string, version: number): Demand | undefined {
    return this.#services.get(serviceId)?.get(version)?.demand;
  }

  /** Whether the service is there, or a task of it. */
  hasAny(serviceId: string): boolean {
    return this.#services.has(serviceId);
  }

  add(spec: SpecVersion): void {
    const versions = this.#services.get(spec.serviceId) ?? new Map();
    invariant(!versions.has(spec.version), `spec version ${spec.version} of service ${spec.serviceId} is made twice`);
    versions.set(spec.version, { spec, demand: demandOf(spec), holders: 0 });
    this.#services.set(spec.serviceId, versions);
    this.#onChange(spec, 'added');
  }

  /** @param registryAuth  undefined for nothing to pull with */
  putRegistryAuth(serviceId: string, version: number, registryAuth: string | undefined): void {
    const entry = this.#services.get(serviceId)?.get(version);
    invariant(entry !== undefined, `spec version ${version} of service ${serviceId} is gone`);
    const { registryAuth: _, ...spec } = entry.spec;
    entry.spec = registryAuth === undefined ? spec : { ...spec, registryAuth };
  }

  hold(serviceId: string, version: number): void {
    const entry = this.#services.get(serviceId)?.get(version);
    invariant(entry !== undefined, `spec version ${version} of service ${serviceId} is needed, but gone`);
    entry.holders++;
  }

  release(serviceId: string, version: number): void {
    const versions = this.#services.get(serviceId);
    const entry = versions?.get(version);
    invariant(versions !== undefined && entry !== undefined, `spec version ${version} of ${serviceId} is not held`);
    entry.holders--;
    if (entry.holders > 0) return;
    versions.delete(version);
    this.#onChange(entry.spec, 'forgotten');
    if (versions.size === 0) this.#services.delete(serviceId);
  }

  /** All of them, in no order to rely on. */
  values(): SpecVersion[] {
    const specs: SpecVersion[] = [];
    for (const versions of this.#services.values()) for (const { spec } of versions.values()) specs.push(spec);
    return specs;
  }
}
