import type { SpecVersion } from '../store/records.js';
import type { View } from '../store/view.js';

/** What a task takes from its node while it is not over. CPU in nano-CPUs, memory in bytes. */
export interface Demand {
  nanoCpus: number;
  memoryBytes: number;
  /** Host-mode ports, as `80/tcp`. */
  hostPorts: readonly string[];
}

export function demandOf(spec: SpecVersion): Demand {
  const reservations = spec.template.Resources?.Reservations;
  const hostPorts = (spec.endpoint?.Ports ?? []).filter((port) => port.PublishMode === 'host' && port.PublishedPort);
  return {
    nanoCpus: reservations?.NanoCPUs ?? 0,
    memoryBytes: reservations?.MemoryBytes ?? 0,
    hostPorts: hostPorts.map((port) => `${port.PublishedPort}/${port.Protocol ?? 'tcp'}`),
  };
}

/** The demand of every spec version met in one pass, each worked out once. */
export class Demands {
  readonly #view: View;
  readonly #known = new Map<string, Map<number, Demand>>();

  constructor(view: View) {
    this.#view = view;
  }

  of(serviceId: string, specVersion: number): Demand {
    let versions = this.#known.get(serviceId);
    if (versions === undefined) {
      versions = new Map();
      this.#known.set(serviceId, versions);
    }
    let demand = versions.get(specVersion);
    if (demand === undefined) {
      demand = demandOf(this.#view.spec(serviceId, specVersion));
      versions.set(specVersion, demand);
    }
    return demand;
  }
}
