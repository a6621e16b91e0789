import type { ChangeOf, Touched } from './change.js';
import { created, type Landing, updated } from './landing.js';
import type { AttachmentRecord } from './records.js';
import type { Tables } from './tables.js';

/** Makes one change of a container on a network, and notes in `touched` that it did. */
export function changeAttachment(
  tables: Tables,
  change: ChangeOf<'attachment-put' | 'attachment-delete'>,
  landing: Landing,
  touched: Touched,
): void {
  if (change.type === 'attachment-delete') {
    const attachment = tables.attachments.get(change.id);
    if (attachment !== undefined) deleteAttachment(tables, attachment, touched);
    return;
  }
  const { attachment } = change;
  const { id, nodeId, networkId } = attachment;
  const before = tables.attachments.get(id);
  if (before !== undefined && before.nodeId !== nodeId) return;
  if (tables.nodes.get(nodeId) === undefined || tables.networks.get(networkId) === undefined) return;
  if (!tables.addresses.isFreeFor(id, [attachment])) return;
  const meta = before === undefined ? created(landing) : updated(before.meta, landing);
  tables.putAttachment({ ...attachment, meta });
  touch(attachment, touched);
}

export function deleteAttachment(tables: Tables, attachment: AttachmentRecord, touched: Touched): void {
  tables.deleteAttachment(attachment);
  touch(attachment, touched);
}

function touch({ id, nodeId }: Pick<AttachmentRecord, 'id' | 'nodeId'>, touched: Touched): void {
  touched.attachments.add(id);
  touched.assignments.add(nodeId);
}
