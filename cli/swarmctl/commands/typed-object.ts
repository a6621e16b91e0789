import { ServiceSpecSchema } from '@apiary/api/model';
import type { Struct } from '../template/index.js';

/**
 * An object of the API for templates, with the fields that its type has: one that the daemon left out is empty as in
 * Docker's command line, and one that the type has not is an error, not silence.
 */

/** The part of a valibot schema that tells a type's fields. */
interface Schema {
  type: string;
  entries?: Record<string, unknown>;
  wrapped?: unknown;
  item?: unknown;
}

const TEXT: Schema = { type: 'string' };
const NUMBER: Schema = { type: 'number' };
const LIST: Schema = { type: 'array' };
const MAP: Schema = { type: 'record' };
/** JSON whose fields are not told here. */
const ANY: Schema = { type: 'any' };

const object = (entries: Record<string, Schema>): Schema => ({ type: 'strict_object', entries });

const META = { ID: TEXT, Version: object({ Index: NUMBER }), CreatedAt: TEXT, UpdatedAt: TEXT };
const SPEC = schemaOf(ServiceSpecSchema);

const SERVICE = object({
  ...META,
  Spec: SPEC,
  PreviousSpec: SPEC,
  Endpoint: object({ Spec: ANY, Ports: LIST, VirtualIPs: LIST }),
  UpdateStatus: object({ State: TEXT, StartedAt: TEXT, CompletedAt: TEXT, Message: TEXT }),
  ServiceStatus: object({ RunningTasks: NUMBER, DesiredTasks: NUMBER, CompletedTasks: NUMBER }),
  JobStatus: ANY,
});

const NODE = object({
  ...META,
  Spec: object({ Name: TEXT, Labels: MAP, Role: TEXT, Availability: TEXT }),
  Description: object({
    Hostname: TEXT,
    Platform: object({ Architecture: TEXT, OS: TEXT }),
    Resources: object({ NanoCPUs: NUMBER, MemoryBytes: NUMBER, GenericResources: LIST }),
    Engine: object({ EngineVersion: TEXT, Labels: MAP, Plugins: LIST }),
    TLSInfo: object({ TrustRoot: TEXT, CertIssuerSubject: TEXT, CertIssuerPublicKey: TEXT }),
  }),
  Status: object({ State: TEXT, Message: TEXT, Addr: TEXT }),
  ManagerStatus: object({ Leader: { type: 'boolean' }, Reachability: TEXT, Addr: TEXT }),
});

const FLAG: Schema = { type: 'boolean' };

const NETWORK = object({
  Name: TEXT,
  Id: TEXT,
  Created: TEXT,
  Scope: TEXT,
  Driver: TEXT,
  EnableIPv4: FLAG,
  EnableIPv6: FLAG,
  IPAM: object({
    Driver: TEXT,
    Options: MAP,
    Config: {
      type: 'array',
      item: object({ Subnet: TEXT, IPRange: TEXT, Gateway: TEXT, AuxiliaryAddresses: MAP }),
    },
  }),
  Internal: FLAG,
  Attachable: FLAG,
  Ingress: FLAG,
  ConfigFrom: object({ Network: TEXT }),
  ConfigOnly: FLAG,
  Containers: MAP,
  Options: MAP,
  Labels: MAP,
  Peers: LIST,
  Services: MAP,
  Status: object({ IPAM: object({ Subnets: MAP }) }),
});

export const typedNetwork = (network: object): Struct => typedObject(network, NETWORK, 'network.Inspect');
const SECRET = object({ ...META, Spec: object({ Name: TEXT, Labels: MAP, Data: TEXT, Driver: ANY, Templating: ANY }) });
const CONFIG = object({ ...META, Spec: object({ Name: TEXT, Labels: MAP, Data: TEXT, Templating: ANY }) });

export const typedSecret = (secret: object): Struct => typedObject(secret, SECRET, 'swarm.Secret');
export const typedConfig = (config: object): Struct => typedObject(config, CONFIG, 'swarm.Config');
export const typedService = (service: object): Struct => typedObject(service, SERVICE, 'swarm.Service');
export const typedNode = (node: object): Struct => typedObject(node, NODE, 'swarm.Node');

function schemaOf(value: unknown): Schema {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
    ? { ...value, type: value.type }
    : ANY;
}

function typedObject(value: object, schema: Schema, typeName: string): Struct {
  const fields = new Map<string, unknown>(Object.entries(value));
  return {
    typeName,
    has: (name) => Object.hasOwn(schema.entries ?? {}, name),
    get: (name) => typed(fields.get(name), schemaOf(schema.entries?.[name]), `swarm.${name}`),
    toJSON: () => value,
  };
}

function typed(value: unknown, schema: Schema, typeName: string): unknown {
  const { type, wrapped, item } = schema;
  if (type === 'optional') return typed(value, schemaOf(wrapped), typeName);
  if (value === undefined || value === null) return zeroOf(type);
  if (type === 'array' && Array.isArray(value)) return value.map((part) => typed(part, schemaOf(item), typeName));
  return type === 'strict_object' && typeof value === 'object' ? typedObject(value, schema, typeName) : value;
}

/** An object that is not there stays nil: in Go most of them are pointers. */
function zeroOf(type: string): unknown {
  switch (type) {
    case 'string':
    case 'picklist':
      return '';
    case 'number':
      return 0;
    case 'boolean':
      return false;
    case 'array':
      return [];
    case 'record':
      return {};
    default:
      return undefined;
  }
}
