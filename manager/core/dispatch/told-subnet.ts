import { gatewaySubnet } from '@apiary/overlay-net/core';
import type { NodeRecord } from '../store/records.js';

/** Which addresses a session tells a node to have for its tasks; empty when it has none. */
export function subnetToTell({ gatewayIndex }: Pick<NodeRecord, 'gatewayIndex'>): string {
  return gatewayIndex === undefined ? '' : gatewaySubnet(gatewayIndex);
}
