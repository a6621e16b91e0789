import { assignmentsFor } from '../../core/dispatch/assignments.js';
import { neededContents } from '../../core/dispatch/needed-contents.js';
import type { NetworkBook } from '../../core/dispatch/network-book.js';
import type { View } from '../../core/store/view.js';
import type { Session } from './agent-session.js';
import { assignmentsMessage, contentsMessage, networkMessage } from './messages.js';

/**
 * Sends an agent what is new of its tasks: what they need before them, and who else is on their networks after them.
 *
 * @param networks  undefined while this manager does not lead
 * @throws ApiaryError when the agent has no key to which contents could be sealed
 */
export function sendAssigned(session: Session, view: View, networks: NetworkBook | undefined): void {
  const needed = neededContents(view, session.nodeId);
  const { contents, isAll } = session.contents.next(needed);
  if (contents.length > 0) session.stream.send(contentsMessage(contents));
  // Tasks come after all that they need.
  session.isBehind = !isAll;
  if (session.isBehind) return;
  const { assignments, sent } = assignmentsFor(view, session.nodeId, session.sent);
  session.sent = sent;
  const removedContentIds = session.contents.superfluous(needed);
  if (assignments !== undefined || removedContentIds.length > 0) {
    session.stream.send(assignmentsMessage(assignments, removedContentIds, view));
  }
  const attachments = session.attachments.next(view, session.nodeId);
  if (attachments !== undefined) session.stream.send({ $case: 'attachments', value: attachments });
  if (networks === undefined) return;
  const ids = [...sent.networks, ...view.attachmentsOfNode(session.nodeId).map(({ networkId }) => networkId)];
  const overlays = new Set(ids.filter((id) => view.network(id)?.kind === 'overlay'));
  for (const update of session.networks.take(networks, overlays)) session.stream.send(networkMessage(update));
}
