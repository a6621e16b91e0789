import {
  addressIn,
  addressRange,
  formatIp,
  freeAddress,
  lastOf,
  type NetworkSubnet,
  networkContains,
  numberIn,
  parseIp,
  parseIpNetwork,
  parseIpv4,
} from '@apiary/overlay-net/core';
import { ApiaryError } from '@apiary/std';
import type { Change, Guard } from '../store/change.js';
import type { AttachmentRecord, NetworkRecord } from '../store/records.js';
import { isGrowing, shortageWords, useOf } from '../store/subnets.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';

/** A container of a node's own on a network, as its agent says; without an address, any will do. */
export interface HeldAttachment extends Omit<AttachmentRecord, 'meta' | 'nodeId'> {
  /** It is to have an address of IPv6 too. */
  hasIpv6?: boolean;
}

/** No node may take all addresses of a network by itself. */
export const MOST_ATTACHMENTS = 1_024;

/**
 * Makes the records of a node's attachments what its agent says there are: those that are new get addresses, those that it
 * does not name any more give theirs back. What is decided again from the same report changes nothing.
 *
 * @param isComplete  there are no others: those are gone, and what one of them had another may have under a new id
 * @returns by attachment, why it cannot be: `not-found`, `permission-denied` in Docker's words for a network that is not
 *   attachable, `invalid-argument`, `already-exists` for an address or an id that is somebody else's, `resource-exhausted`
 */
export function reconcileAttachments(
  view: View,
  nodeId: string,
  { held, isComplete }: { held: readonly HeldAttachment[]; isComplete: boolean },
): Decision<Map<string, ApiaryError>> {
  const errors = new Map<string, ApiaryError>();
  const guards: Guard[] = [];
  const changes: Change[] = [];
  const wanted = new Map(held.slice(0, MOST_ATTACHMENTS).map((each) => [each.id, each]));
  const gone = new Set<string>();
  for (const { id } of isComplete ? view.attachmentsOfNode(nodeId) : []) if (!wanted.has(id)) gone.add(id);
  for (const id of gone) changes.push({ type: 'attachment-delete', id });
  const pass = { view, given: new Map<string, Set<string>>(), gone };
  for (const asked of wanted.values()) {
    try {
      checkId(view, nodeId, asked.id);
      const { hasIpv6 = false, ipv6Address: _, ...named } = asked;
      const { networkId } = asked;
      const network = attachable(view, networkId);
      const ipv4 = addressFor(pass, network, asked, 'IPv4');
      const ipv6 = hasIpv6 ? addressFor(pass, network, asked, 'IPv6') : undefined;
      const { address } = ipv4;
      const attachment = { ...named, nodeId, address, ...(ipv6 && { ipv6Address: ipv6.address }) };
      if (isSame(view.attachment(asked.id), attachment)) continue;
      guards.push({ type: 'address-free', owner: ipv4.owner, address: { networkId, address } });
      if (ipv6 !== undefined) {
        guards.push({
          type: 'address-free',
          owner: ipv6.owner,
          address: { networkId, address: '', ipv6Address: ipv6.address },
        });
      }
      changes.push({ type: 'attachment-put', attachment });
    } catch (error) {
      if (!(error instanceof ApiaryError)) throw error;
      errors.set(asked.id, error);
      if (view.attachment(asked.id)?.nodeId === nodeId) changes.push({ type: 'attachment-delete', id: asked.id });
    }
  }
  for (const { id } of held.slice(MOST_ATTACHMENTS)) {
    const words = `a node can have ${MOST_ATTACHMENTS} containers beside its tasks on networks of the cluster, and has them`;
    errors.set(id, new ApiaryError('resource-exhausted', words));
  }
  return { guards, changes, result: errors };
}

/** Agents draw ids at random: one that is somebody else's was chosen, to have what is theirs. */
function checkId(view: View, nodeId: string, id: string): void {
  const owner = view.attachment(id)?.nodeId ?? nodeId;
  if (owner === nodeId && view.task(id) === undefined && view.service(id) === undefined) return;
  throw new ApiaryError('already-exists', `attachment id ${id} is in use: choose another`);
}

type Family = 'IPv4' | 'IPv6';

/** What one decision knows. */
interface Pass {
  view: View;
  /** What it has given itself, by subnet. */
  given: Map<string, Set<string>>;
  /** Whose addresses are free with it. */
  gone: ReadonlySet<string>;
}

/** @returns the address, and who may have it where this lands: who asks, or who gives it back with this very decision */
function addressFor(
  { view, given, gone }: Pass,
  network: NetworkRecord,
  asked: HeldAttachment,
  family: Family,
): { address: string; owner: string } {
  const subnet = subnetOf(network, family);
  const wish = (family === 'IPv4' ? asked.address : asked.ipv6Address) ?? '';
  const record = view.attachment(asked.id);
  const held = (family === 'IPv4' ? record?.address : record?.ipv6Address) ?? '';
  if (record?.networkId === network.id && held !== '' && (wish === '' || wish === held)) {
    return { address: held, owner: asked.id };
  }
  const taken = given.get(subnet.subnet) ?? new Set();
  given.set(subnet.subnet, taken);
  const address = wish === '' ? freeIn(view, network, subnet, taken) : chosen(network, subnet, wish);
  const { owners, ipv6 } = view.addresses(network.id);
  const holder = ipv6.owners.get(address) ?? owners.get(parseIpv4(address) ?? -1);
  if ((holder !== undefined && holder !== asked.id && !gone.has(holder)) || taken.has(address)) {
    const words = `address ${address} on network ${network.spec.Name} is in use: choose another`;
    throw new ApiaryError('already-exists', words);
  }
  taken.add(address);
  return { address, owner: holder ?? asked.id };
}

function attachable(view: View, networkId: string): NetworkRecord {
  const network = view.network(networkId);
  if (network === undefined) throw new ApiaryError('not-found', `network ${networkId} not found`);
  if (network.kind === 'overlay' && network.spec.Attachable === true) return network;
  throw notAttachable(network.spec.Name);
}

/** In SwarmKit's words. */
export function notAttachable(name: string): ApiaryError {
  return new ApiaryError('permission-denied', `network ${name} not manually attachable`);
}

function freeIn(view: View, network: NetworkRecord, subnet: NetworkSubnet, taken: ReadonlySet<string>): string {
  const range = addressRange(subnet);
  const use = useOf(view.addresses(network.id), range);
  const last = [...taken].at(-1);
  const both = {
    count: use.count + taken.size,
    last: last === undefined ? use.last : numberIn(range, last),
    has: (number: number) => use.has(number) || taken.has(addressIn(range, number)),
  };
  const number = freeAddress(range, both, isGrowing(network, range));
  if (number !== undefined) return addressIn(range, number);
  throw new ApiaryError('resource-exhausted', shortageWords(network, subnet.subnet, range));
}

/** An address that somebody asks for, as it is written. */
function chosen(network: NetworkRecord, { subnet, gateway, reserved = [] }: NetworkSubnet, text: string): string {
  const whole = parseIpNetwork(subnet);
  const address = parseIp(text);
  const isOwn = address !== undefined && networkContains(whole, address) && address.value !== whole.first;
  // The last of IPv4 is everybody's.
  if (isOwn && !(whole.bits === 32 && address.value === lastOf(whole))) {
    const written = formatIp(address);
    if (![gateway, ...reserved].includes(written)) return written;
  }
  const words = `address ${text} is none that a container on network ${network.spec.Name} can have`;
  throw new ApiaryError('invalid-argument', words);
}

function subnetOf({ spec, subnets }: NetworkRecord, family: Family): NetworkSubnet {
  const subnet = subnets.find((each) => each.subnet.includes(':') === (family === 'IPv6'));
  if (subnet !== undefined) return subnet;
  throw new ApiaryError('failed-precondition', `network ${spec.Name} has no ${family} subnet`);
}

function isSame(record: AttachmentRecord | undefined, attachment: Omit<AttachmentRecord, 'meta'>): boolean {
  return record !== undefined && told(record) === told(attachment);
}

function told(attachment: Omit<AttachmentRecord, 'meta'>): string {
  const { id, nodeId, networkId, address, ipv6Address, containerId, containerName, aliases } = attachment;
  return JSON.stringify([id, nodeId, networkId, address, ipv6Address, containerId, containerName, aliases]);
}
