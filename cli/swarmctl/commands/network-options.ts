import type { NetworkSpec } from '@apiary/api/model';
import { networkContains, parseIp, parseIpNetwork } from '@apiary/overlay-net/core';
import { boolFlag, type Flag, listFlag, type ParsedFlags, textFlag } from '../command-line/index.js';
import { toMap } from '../spec/index.js';
import { CommandError } from './context.js';

const asIs = (text: string): string => text;

/** A list whose values may also stand in one word, between commas. */
function stringsFlag(name: string, usage: string): Flag<string[]> {
  return {
    name,
    usage,
    type: 'strings',
    parse: (text, before = []) => [...before, ...text.split(',')],
  };
}

const attachable = boolFlag('attachable', 'Enable manual container attachment');
const auxAddress = listFlag('aux-address', 'Auxiliary IPv4 or IPv6 addresses used by Network driver', asIs, {
  type: 'map',
  defaultText: 'map[]',
});
const configFrom = textFlag('config-from', 'The network from which to copy the configuration');
const configOnly = boolFlag('config-only', 'Create a configuration only network');
const driver = textFlag('driver', 'Driver to manage the Network', { short: 'd', defaultText: '"bridge"' });
const gateway = stringsFlag('gateway', 'IPv4 or IPv6 Gateway for the master subnet');
const ingress = boolFlag('ingress', 'Create swarm routing-mesh network');
const internal = boolFlag('internal', 'Restrict external access to the network');
const ipRange = stringsFlag('ip-range', 'Allocate container ip from a sub-range');
const ipamDriver = textFlag('ipam-driver', 'IP Address Management Driver', { defaultText: '"default"' });
const ipamOpt = listFlag('ipam-opt', 'Set IPAM driver specific options', asIs, { type: 'map', defaultText: 'map[]' });
const ipv4 = boolFlag('ipv4', 'Enable or disable IPv4 address assignment', { defaultText: 'true' });
const ipv6 = boolFlag('ipv6', 'Enable or disable IPv6 address assignment');
const label = listFlag('label', 'Set metadata on a network', asIs);
const opt = listFlag('opt', 'Set driver specific options', asIs, { short: 'o', type: 'map', defaultText: 'map[]' });
const scope = textFlag('scope', "Control the network's scope");
const subnet = stringsFlag('subnet', 'Subnet in CIDR format that represents a network segment');

/** The flags of `network create`, in the order of its help. */
export const NETWORK_FLAGS = [
  attachable,
  auxAddress,
  configFrom,
  configOnly,
  driver,
  gateway,
  ingress,
  internal,
  ipRange,
  ipamDriver,
  ipamOpt,
  ipv4,
  ipv6,
  label,
  opt,
  scope,
  subnet,
];

/** What `network create` asks for. @throws CommandError for flags that do not fit each other */
export function networkSpec(name: string, flags: ParsedFlags): NetworkSpec {
  const from = flags.get(configFrom) ?? '';
  return {
    Name: name,
    // Engines before 25 make two networks of one name otherwise.
    CheckDuplicate: true,
    Driver: flags.get(driver) ?? 'bridge',
    Scope: flags.get(scope) ?? '',
    ...(flags.changed(ipv4) && { EnableIPv4: flags.get(ipv4) }),
    ...(flags.changed(ipv6) && { EnableIPv6: flags.get(ipv6) }),
    IPAM: {
      Driver: flags.get(ipamDriver) ?? 'default',
      Options: toMap(flags.get(ipamOpt) ?? []),
      Config: ipamConfig(flags),
    },
    Internal: flags.get(internal) ?? false,
    Attachable: flags.get(attachable) ?? false,
    Ingress: flags.get(ingress) ?? false,
    ConfigOnly: flags.get(configOnly) ?? false,
    ...(from !== '' && { ConfigFrom: { Network: from } }),
    Options: toMap(flags.get(opt) ?? []),
    Labels: toMap(flags.get(label) ?? []),
  };
}

type IpamConfig = NonNullable<NonNullable<NetworkSpec['IPAM']>['Config']>;

/** Puts each range, gateway and auxiliary address to the subnet that it is of. */
function ipamConfig(flags: ParsedFlags): IpamConfig {
  const subnets = flags.get(subnet) ?? [];
  const ranges = flags.get(ipRange) ?? [];
  const gateways = flags.get(gateway) ?? [];
  if (subnets.length < ranges.length || subnets.length < gateways.length) {
    throw new CommandError('every ip-range or gateway must have a corresponding subnet');
  }
  const config: IpamConfig = [];
  for (const Subnet of subnets) {
    if (config.some((other) => contains(other.Subnet ?? '', Subnet) || contains(Subnet, other.Subnet ?? ''))) {
      throw new CommandError('multiple overlapping subnet configuration is not supported');
    }
    config.push({ Subnet });
  }
  const of = (address: string) => config.find(({ Subnet = '' }) => contains(Subnet, address));
  for (const IPRange of ranges) {
    const entry = of(IPRange);
    if (entry === undefined) throw new CommandError(`no matching subnet for range ${IPRange}`);
    if (entry.IPRange !== undefined)
      throw severalOf('ranges', entry.IPRange, IPRange, `on the same subnet (${entry.Subnet})`);
    entry.IPRange = IPRange;
  }
  for (const Gateway of gateways) {
    const entry = of(Gateway);
    if (entry === undefined) throw new CommandError(`no matching subnet for gateway ${Gateway}`);
    if (entry.Gateway !== undefined) {
      throw severalOf('gateways', entry.Gateway, Gateway, `for the same subnet (${entry.Subnet})`);
    }
    entry.Gateway = Gateway;
  }
  for (const [name, address] of Object.entries(toMap(flags.get(auxAddress) ?? []))) {
    const entry = of(address);
    if (entry === undefined) throw new CommandError(`no matching subnet for aux-address ${address}`);
    entry.AuxiliaryAddresses = { ...entry.AuxiliaryAddresses, [name]: address };
  }
  return config;
}

function severalOf(what: string, first: string, second: string, where: string): CommandError {
  return new CommandError(`cannot configure multiple ${what} (${second}, ${first}) ${where}`);
}

/** Whether a subnet has an address, or the first one of a network. @throws CommandError when one of them is none */
function contains(subnet: string, text: string): boolean {
  const [base = ''] = text.split('/');
  const address = parseIp(base);
  if (address === undefined) throw new CommandError(`invalid CIDR address: ${text}`);
  return networkContains(parseIpNetwork(subnet), address);
}
