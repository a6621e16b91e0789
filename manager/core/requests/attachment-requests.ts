import { addressRange, capacityOf, formatIpv4, freeAddress, parseIpv4 } from '@apiary/overlay-net/core';
import { ApiaryError } from '@apiary/std';
import { isGrowing } from '../plan/allocation.js';
import type { Change, Guard } from '../store/change.js';
import type { AttachmentRecord, NetworkRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';

/** A container of a node's own on a network, as its agent says; without an address, any will do. */
export type HeldAttachment = Omit<AttachmentRecord, 'meta' | 'nodeId'>;

/** No node may take all addresses of a network by itself. */
export const MOST_ATTACHMENTS = 1_024;

/**
 * Makes the records of a node's attachments what its agent says there are: those that are new get addresses, those that it
 * does not name any more give theirs back. What is decided again from the same report changes nothing.
 *
 * @param isComplete  there are no others: those are gone, and what one of them had another may have under a new id
 * @returns by attachment, why it cannot be: `not-found`, `permission-denied` in Docker's words for a network that is not
 *   attachable, `invalid-argument`, `already-exists` for an address that is somebody else's, `resource-exhausted`
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
  const pass = { view, given: new Map<string, Set<number>>(), gone };
  for (const asked of wanted.values()) {
    try {
      const { address, owner } = addressFor(pass, asked);
      const attachment = { ...asked, nodeId, address };
      if (isSame(view.attachment(asked.id), attachment)) continue;
      guards.push({ type: 'address-free', owner, address: { networkId: asked.networkId, address } });
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

/** What one decision knows. */
interface Pass {
  view: View;
  /** What it has given itself, by network. */
  given: Map<string, Set<number>>;
  /** Whose addresses are free with it. */
  gone: ReadonlySet<string>;
}

/** @returns the address, and who may have it where this lands: who asks, or who gives it back with this very decision */
function addressFor(
  { view, given, gone }: Pass,
  { id, networkId, address }: HeldAttachment,
): { address: string; owner: string } {
  const network = attachable(view, networkId);
  const record = view.attachment(id);
  if (record?.networkId === networkId && (address === '' || address === record.address)) {
    return { address: record.address, owner: id };
  }
  const taken = given.get(networkId) ?? new Set();
  given.set(networkId, taken);
  const number = address === '' ? freeIn(view, network, taken) : numberOf(network, address);
  const holder = view.addresses(network.id).owners.get(number);
  if ((holder !== undefined && holder !== id && !gone.has(holder)) || taken.has(number)) {
    const words = `address ${address} on network ${network.spec.Name} is in use: choose another`;
    throw new ApiaryError('already-exists', words);
  }
  taken.add(number);
  return { address: formatIpv4(number), owner: holder ?? id };
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

function freeIn(view: View, network: NetworkRecord, taken: ReadonlySet<number>): number {
  const range = addressRange(subnetOf(network));
  const use = view.addresses(network.id);
  const both = {
    count: use.count + taken.size,
    last: [...taken].at(-1) ?? use.last,
    has: (address: number) => use.has(address) || taken.has(address),
  };
  const address = freeAddress(range, both, isGrowing(network));
  if (address !== undefined) return address;
  const words = `no free address in subnet ${subnetOf(network).subnet} of network ${network.spec.Name}`;
  throw new ApiaryError('resource-exhausted', `${words} (all ${capacityOf(range)} are in use)`);
}

function numberOf(network: NetworkRecord, text: string): number {
  const { subnet, gateway, reserved = [] } = subnetOf(network);
  const { first, last } = addressRange({ subnet, gateway });
  const address = parseIpv4(text);
  if (address !== undefined && address >= first && address <= last && ![gateway, ...reserved].includes(text)) {
    return address;
  }
  const words = `address ${text} is none that a container on network ${network.spec.Name} can have`;
  throw new ApiaryError('invalid-argument', words);
}

function subnetOf(network: NetworkRecord) {
  const [subnet] = network.subnets;
  if (subnet !== undefined && !subnet.subnet.includes(':')) return subnet;
  throw new ApiaryError('failed-precondition', `network ${network.spec.Name} has no IPv4 subnet`);
}

function isSame(record: AttachmentRecord | undefined, attachment: Omit<AttachmentRecord, 'meta'>): boolean {
  if (record === undefined) return false;
  const { meta: _, ...rest } = record;
  const { id, nodeId, networkId, address, containerId, containerName, aliases } = attachment;
  return (
    JSON.stringify([rest.id, rest.nodeId, rest.networkId, rest.address, rest.containerId, rest.containerName]) ===
      JSON.stringify([id, nodeId, networkId, address, containerId, containerName]) &&
    JSON.stringify(rest.aliases) === JSON.stringify(aliases)
  );
}
