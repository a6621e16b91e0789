import { hexadecimal } from '../core/index.js';

/** By what the parts of a gateway network are known in the kernel. */

/** Who made a route or a rule (rtm_protocol): a number that nobody else is known to use. */
export const GATEWAY_PROTOCOL = 97;
/** The link that has every task's gateway address: a bridge without ports, since not every kernel has dummies. */
export const GATEWAY_LINK = 'apiary_gw';
/** The device to other hosts' tasks. */
export const GATEWAY_TUNNEL = 'apiary_gwx';
/** The host's end of the link to where names are answered. */
export const NAMES_LINK = 'apiary_names';
/** All of a host's own; links of tasks are beside them. */
export const OWN_LINKS: readonly string[] = [GATEWAY_LINK, GATEWAY_TUNNEL, NAMES_LINK];
/** With an address in hexadecimal: the host's end of a task's link. */
export const PORT_PREFIX = 'apgw';
/** The task's end. */
export const TASK_LINK = 'eth0';

/** Of the host's end of a task's link. */
export function portName(address: string): string {
  return `${PORT_PREFIX}${hexadecimal(address)}`;
}
