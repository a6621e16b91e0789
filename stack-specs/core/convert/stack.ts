import type { ServiceSpec } from '@apiary/api/model';

/** A stack as the Engine API's bodies. Names are those that the objects have in the cluster. */
export interface Stack {
  name: string;
  networks: NetworkBody[];
  /** Networks that others made and that services use. */
  externalNetworks: string[];
  secrets: ContentBody[];
  configs: ContentBody[];
  services: StackService[];
}

/** `POST /networks/create`. */
export interface NetworkBody {
  Name: string;
  Driver: string;
  Labels: Record<string, string>;
  Attachable?: boolean;
  Internal?: boolean;
  EnableIPv6?: boolean;
  Options?: Record<string, string>;
  IPAM?: {
    Driver?: string;
    Options?: Record<string, string>;
    Config?: { Subnet?: string; IPRange?: string; Gateway?: string; AuxiliaryAddresses?: Record<string, string> }[];
  };
}

/** `POST /secrets/create`, `POST /configs/create`. */
export interface ContentBody {
  Name: string;
  Labels: Record<string, string>;
  /** base64. */
  Data?: string;
  Driver?: { Name: string; Options?: Record<string, string> };
  Templating?: { Name: string };
}

export interface StackService {
  /** As the file names it. */
  key: string;
  /** `SecretID`, `ConfigID` and what a credential spec takes from a config are still to be put in, by their names. */
  spec: ServiceSpec;
  dependsOn: Dependency[];
}

export type DependencyCondition = 'service_started' | 'service_healthy' | 'service_completed_successfully';

export interface Dependency {
  /** As the file names it. */
  service: string;
  condition: DependencyCondition;
  /** Whether new versions of the service wait, too, and not its first start alone. */
  onUpdate: boolean;
}

export const NAMESPACE_LABEL = 'com.docker.stack.namespace';
export const IMAGE_LABEL = 'com.docker.stack.image';

/** Joins a stack's name to that of one of its objects. */
export function scoped(stack: string, name: string): string {
  return `${stack}_${name}`;
}

/** With the label that says which stack the object is of. */
export function labelled(stack: string, labels: Record<string, string> | undefined): Record<string, string> {
  return { ...labels, [NAMESPACE_LABEL]: stack };
}
