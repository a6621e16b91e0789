import type { NamespaceRef } from '../namespace.js';
import { type AddressSettings, writeAddress, writeAddressDeletion } from './address.js';
import { type LinkChange, type NewLink, writeLinkChange, writeLinkDeletion, writeNewLink } from './link.js';
import type { LinkRef, MessageWriter } from './message.js';
import {
  type FdbSettings,
  type NeighbourSettings,
  writeFdb,
  writeFdbDeletion,
  writeNeighbour,
  writeNeighbourDeletion,
} from './neighbour.js';
import { type RouteSettings, writeRoute, writeRouteDeletion } from './route.js';
import { type RuleSettings, writeRule, writeRuleDeletion } from './rule.js';

/**
 * One thing to be done to the network. `in` names the network namespace that it is done in, and in which the names of
 * links are looked up; without it, it is the connection's own.
 */
export type Change = { in?: NamespaceRef } & (
  | { do: 'add-link'; link: NewLink }
  | { do: 'set-link'; link: LinkRef; to: LinkChange }
  | { do: 'delete-link'; link: LinkRef }
  | { do: 'add-address'; address: AddressSettings }
  | { do: 'delete-address'; address: Pick<AddressSettings, 'link' | 'address' | 'peer'> }
  | { do: 'add-route'; route: RouteSettings }
  | { do: 'delete-route'; route: RouteSettings }
  | { do: 'add-rule'; rule: RuleSettings }
  | { do: 'delete-rule'; rule: RuleSettings }
  | { do: 'add-neighbour'; neighbour: NeighbourSettings }
  | { do: 'delete-neighbour'; neighbour: NeighbourSettings }
  | { do: 'add-fdb'; fdb: FdbSettings }
  | { do: 'delete-fdb'; fdb: FdbSettings }
);

/** Writes the one message of a change. @throws TypeError when the change says what cannot be written */
export function writeChange(writer: MessageWriter, change: Change): void {
  switch (change.do) {
    case 'add-link':
      writeNewLink(writer, change.link, change.in);
      break;
    case 'set-link':
      writeLinkChange(writer, change.link, change.to, change.in);
      break;
    case 'delete-link':
      writeLinkDeletion(writer, change.link, change.in);
      break;
    case 'add-address':
      writeAddress(writer, change.address, change.in);
      break;
    case 'delete-address':
      writeAddressDeletion(writer, change.address, change.in);
      break;
    case 'add-route':
      writeRoute(writer, change.route, change.in);
      break;
    case 'delete-route':
      writeRouteDeletion(writer, change.route, change.in);
      break;
    case 'add-rule':
      writeRule(writer, change.rule, change.in);
      break;
    case 'delete-rule':
      writeRuleDeletion(writer, change.rule, change.in);
      break;
    case 'add-neighbour':
      writeNeighbour(writer, change.neighbour, change.in);
      break;
    case 'delete-neighbour':
      writeNeighbourDeletion(writer, change.neighbour, change.in);
      break;
    case 'add-fdb':
      writeFdb(writer, change.fdb, change.in);
      break;
    case 'delete-fdb':
      writeFdbDeletion(writer, change.fdb, change.in);
      break;
    default:
      throw new TypeError(`a change that is not known: ${JSON.stringify(change)}`);
  }
}

/** Says in a few words what was to be done: `add address 10.0.0.2/24 to "eth0"`. */
export function describe(change: Change): string {
  return `${words(change)}${change.in === undefined ? '' : ` in ${'pid' in change.in ? `the network of process ${change.in.pid}` : change.in.path}`}`;
}

function words(change: Change): string {
  switch (change.do) {
    case 'add-link':
      return `add ${change.link.kind} link "${change.link.name}"`;
    case 'set-link':
      return `set ${Object.keys(change.to).join(', ')} of link ${named(change.link)}`;
    case 'delete-link':
      return `delete link ${named(change.link)}`;
    case 'add-address':
      return `add address ${change.address.address} to ${named(change.address.link)}`;
    case 'delete-address':
      return `delete address ${change.address.address} of ${named(change.address.link)}`;
    case 'add-route':
    case 'delete-route':
      return `${change.do === 'add-route' ? 'add' : 'delete'} route to ${change.route.destination}${route(change.route)}`;
    case 'add-rule':
    case 'delete-rule':
      return `${change.do === 'add-rule' ? 'add' : 'delete'} rule ${Object.entries(change.rule).flat().join(' ')}`;
    case 'add-neighbour':
    case 'delete-neighbour':
      return `${change.do === 'add-neighbour' ? 'add' : 'delete'} neighbour ${change.neighbour.address} of ${named(change.neighbour.link)}`;
    case 'add-fdb':
    case 'delete-fdb':
      return `${change.do === 'add-fdb' ? 'add' : 'delete'} FDB entry ${change.fdb.mac} of ${named(change.fdb.link)}`;
  }
}

function named(link: LinkRef): string {
  return typeof link === 'string' ? `"${link}"` : `${link}`;
}

function route({ gateway, link, table }: RouteSettings): string {
  return `${gateway === undefined ? '' : ` via ${gateway}`}${link === undefined ? '' : ` on ${named(link)}`}${table === undefined ? '' : ` in table ${table}`}`;
}
