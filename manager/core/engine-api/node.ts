import type { Node, NodeDescription, TlsInfo } from '@apiary/api/model';
import type { NodeRecord } from '../store/records.js';
import { filled, metaOf } from './timestamp.js';

/** What of a node is not in its record. */
export interface NodeSurroundings {
  /** The manager that leads, when it is known. */
  leaderId: string | undefined;
  /** The cluster's trust root, which every node's certificate goes back to. */
  tlsInfo: TlsInfo;
}

export function nodeObject(record: NodeRecord, { leaderId, tlsInfo }: NodeSurroundings): Node {
  const { description, spec, status } = record;
  return {
    ...metaOf(record),
    Spec: {
      Name: filled(spec.Name),
      Labels: spec.Labels ?? {},
      Role: spec.Role ?? record.role,
      Availability: spec.Availability ?? 'active',
    },
    Description: { TLSInfo: tlsInfo, ...(description ?? UNKNOWN) },
    Status: { State: status.state, Message: filled(status.message), Addr: status.addr },
    ...(record.managerAddr === undefined || record.role !== 'manager'
      ? {}
      : { ManagerStatus: managerStatus(record, record.managerAddr, leaderId) }),
  };
}

/** Of a node whose agent has not had a session yet. */
const UNKNOWN: NodeDescription = {
  Hostname: '',
  Platform: { Architecture: '', OS: '' },
  Resources: { NanoCPUs: 0, MemoryBytes: 0 },
  Engine: { EngineVersion: '', Plugins: [] },
};

function managerStatus(
  { id, reachability }: NodeRecord,
  addr: string,
  leaderId: string | undefined,
): NonNullable<Node['ManagerStatus']> {
  if (id === leaderId) return { Leader: true, Reachability: 'reachable', Addr: addr };
  return { Reachability: reachability ?? 'unknown', Addr: addr };
}
