import { isDeepStrictEqual } from 'node:util';
import type { AttachmentsReport, AttachmentsUpdate } from '@apiary/api/rpc';
import type { ApiaryError } from '@apiary/std';
import { attachmentsToTell } from '../../core/dispatch/told-attachments.js';
import { reconcileAttachments } from '../../core/requests/index.js';
import type { View } from '../../core/store/view.js';
import type { Replica } from '../ports.js';
import type { AgentStream } from './agent-stream.js';
import { readAttachments } from './messages.js';
import { noLeader } from './no-session.js';

/** What one session says and is told of containers that are no tasks, on networks. */
export class AttachmentFeed {
  #lastReport: Promise<void> = Promise.resolve();
  #errors: ReadonlyMap<string, ApiaryError> = new Map();
  #told: AttachmentsUpdate | undefined;

  /**
   * Makes the records of a node what its agent says there is, one report after the other: the last one counts.
   *
   * @param term  that is led; undefined when another leads by now
   */
  async report(
    replica: Replica,
    { nodeId, stream }: { nodeId: string; stream: AgentStream },
    report: AttachmentsReport,
    term: number | undefined,
  ): Promise<void> {
    if (term === undefined) throw noLeader();
    const asked = { held: readAttachments(report), isComplete: report.isComplete };
    const before = this.#lastReport;
    this.#lastReport = (async () => {
      await before;
      if (stream.isOver) return;
      this.#errors = await replica.submit((view) => reconcileAttachments(view, nodeId, asked), { asLeaderOf: term });
    })();
    await this.#lastReport;
  }

  /** What there is to tell; it counts as told. */
  next(view: View, nodeId: string): AttachmentsUpdate | undefined {
    const update = attachmentsToTell(view, nodeId, this.#errors);
    if (isDeepStrictEqual(update, this.#told)) return undefined;
    this.#told = update;
    return update;
  }
}
