import type { Network } from '@apiary/api/model';
import { type Struct, structOf } from '../template/index.js';
import { compareNaturally, shortId } from './human.js';
import type { ListKind } from './list.js';

export const NETWORKS: ListKind = {
  headings: {
    ID: 'NETWORK ID',
    Name: 'NAME',
    Driver: 'DRIVER',
    Scope: 'SCOPE',
    IPv4: 'IPV4',
    IPv6: 'IPV6',
    Internal: 'INTERNAL',
    Labels: 'LABELS',
    CreatedAt: 'CREATED AT',
  },
  defaultTable: '{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}',
  raw: {
    all: 'network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n',
    quiet: 'network_id: {{.ID}}',
  },
};

export function networkRows(networks: readonly Network[], { truncate }: { truncate: boolean }): Struct[] {
  const sorted = [...networks].sort((a, b) => compareNaturally(a.Name, b.Name));
  return sorted.map((network) => {
    const labels = Object.entries(network.Labels ?? {});
    return structOf('*network.networkContext', {
      ID: () => (truncate ? shortId(network.Id) : network.Id),
      Name: () => network.Name,
      Driver: () => network.Driver,
      Scope: () => network.Scope,
      IPv4: () => String(network.EnableIPv4 ?? false),
      IPv6: () => String(network.EnableIPv6),
      Internal: () => String(network.Internal),
      Labels: () => labels.map(([key, value]) => `${key}=${value}`).join(','),
      CreatedAt: () => goTime(network.Created),
    });
  });
}

/** `2026-01-02 03:04:05.678 +0000 UTC`, as Go writes a time. */
function goTime(time: string): string {
  return time.replace('T', ' ').replace(/Z$/, ' +0000 UTC');
}
