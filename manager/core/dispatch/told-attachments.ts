import type { Attachment, AttachmentsUpdate } from '@apiary/api/rpc';
import type { ApiaryError } from '@apiary/std';
import type { View } from '../store/view.js';
import { assignedNetwork } from './network-book.js';

/**
 * What a node is told of networks for containers that are no tasks. O(networks + attachments of the node).
 *
 * @param errors  by attachment, why it has no address, as the node's last report was answered
 */
export function attachmentsToTell(
  view: View,
  nodeId: string,
  errors: ReadonlyMap<string, ApiaryError>,
): AttachmentsUpdate {
  const networks = view.networks().filter(({ kind, spec }) => kind === 'overlay' && spec.Attachable === true);
  const attachments = view.attachmentsOfNode(nodeId).map(({ id, networkId, address, ipv6Address = '' }): Attachment => {
    return { attachmentId: id, networkId, address, error: '', ipv6Address };
  });
  for (const [id, { message }] of errors) {
    attachments.push({ attachmentId: id, networkId: '', address: '', error: message, ipv6Address: '' });
  }
  return { networks: networks.map(assignedNetwork), attachments };
}
