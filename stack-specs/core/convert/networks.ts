import type { Fields } from './fields.js';
import { given } from './fields.js';
import { labelled, type NetworkBody, scoped } from './stack.js';

/** Networks of the engine itself, which every host has. */
const BUILT_IN = new Set(['host', 'bridge', 'none', 'default']);

export function isUserDefined(network: string): boolean {
  return !BUILT_IN.has(network) && !network.startsWith('container:');
}

/** The networks that services use: those that the stack makes, and those that others have made. */
export function convertNetworks(stack: string, project: Fields): { own: NetworkBody[]; external: string[] } {
  const used = new Set<string>();
  for (const service of project.each('services')) for (const name of networkKeys(service)) used.add(name);
  const networks = project.in('networks');
  const own: NetworkBody[] = [];
  const external = new Set<string>();
  for (const key of [...used].sort()) {
    const network = networks.in(key);
    if (network.flag('external')) external.add(network.text('name') ?? key);
    else if (networks.raw(key) !== undefined || key === 'default') own.push(networkBody(stack, key, network));
  }
  return { own, external: [...external].sort() };
}

/** Without any of its own a service is on the stack's default network. */
export function networkKeys(service: Fields): string[] {
  const keys = service.in('networks').keys();
  return keys.length === 0 ? ['default'] : keys;
}

/** The name in the cluster of the network that a file calls `key`. */
export function networkName(stack: string, key: string, network: Fields): string {
  return network.text('name') ?? scoped(stack, key);
}

function networkBody(stack: string, key: string, network: Fields): NetworkBody {
  const ipam = network.in('ipam');
  const config = ipam.each('config').map((one) =>
    given({
      Subnet: one.text('subnet'),
      IPRange: one.text('ip_range'),
      Gateway: one.text('gateway'),
      AuxiliaryAddresses: one.texted('aux_addresses'),
    }),
  );
  const hasIpam = ipam.has('driver') || config.length > 0;
  return given({
    Name: networkName(stack, key, network),
    Driver: network.text('driver') ?? 'overlay',
    Labels: labelled(stack, network.texted('labels')),
    Attachable: network.flag('attachable') || undefined,
    Internal: network.flag('internal') || undefined,
    EnableIPv6: network.flag('enable_ipv6') || undefined,
    Options: network.texted('driver_opts'),
    IPAM: hasIpam
      ? given({
          Driver: ipam.text('driver'),
          Options: ipam.texted('options'),
          Config: config.length > 0 ? config : undefined,
        })
      : undefined,
  });
}
