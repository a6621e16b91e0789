import type { ServiceSpec, UpdateConfig } from '@apiary/api/model';
import { invalid, quoted, unhonoured } from './refusal.js';

/**
 * Refuses the words of a service spec that Docker's engine knows nothing of. Docker finds these faults before it asks
 * SwarmKit, and its messages show that: who puts SwarmKit's `rpc error` before the others calls this one apart.
 *
 * @throws ApiaryError `invalid-argument` in Docker's words; `unimplemented` for a runtime that is known and not ours
 */
export function checkWords(spec: ServiceSpec): void {
  checkRuntime(spec);
  checkWord(spec.TaskTemplate.RestartPolicy?.Condition, ['none', 'on-failure', 'any'], 'RestartCondition');
  for (const { Type = '', BindOptions } of spec.TaskTemplate.ContainerSpec?.Mounts ?? []) {
    if (Type !== '' && !MOUNT_TYPES.includes(Type)) throw invalid(`invalid MountType: ${quoted(Type)}`);
    checkWord(BindOptions?.Propagation, PROPAGATIONS, 'MountPropagation');
  }
  for (const { File, Runtime } of spec.TaskTemplate.ContainerSpec?.Configs ?? []) {
    if (File === undefined && Runtime === undefined)
      throw invalid('invalid Config: either File or Runtime should be set');
    if (File !== undefined && Runtime !== undefined)
      throw invalid('invalid Config: cannot specify both File and Runtime');
  }
  const credential = spec.TaskTemplate.ContainerSpec?.Privileges?.CredentialSpec;
  if (credential) checkCredentialSpec(credential);
  checkUpdateWords(spec.UpdateConfig);
  checkUpdateWords(spec.RollbackConfig);
  checkWord(spec.EndpointSpec?.Mode, ['vip', 'dnsrr'], 'resolution mode');
  const modes = Object.values(spec.Mode ?? {}).filter((mode) => mode !== undefined);
  if (modes.length > 1) throw invalid('must specify only one service mode');
}

const MOUNT_TYPES = ['bind', 'volume', 'tmpfs', 'npipe', 'cluster', 'image'];
const PROPAGATIONS = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];

function checkRuntime({ TaskTemplate: template }: ServiceSpec): void {
  const { Runtime = '' } = template;
  if (Runtime === 'plugin' && template.PluginSpec !== undefined) {
    throw unhonoured(`TaskTemplate.Runtime ${quoted(Runtime)}`);
  }
  if (!['', 'container', 'plugin'].includes(Runtime)) throw invalid('unsupported runtime');
  if (template.ContainerSpec === undefined || Runtime === 'plugin')
    throw invalid('mismatched Runtime and *Spec fields');
}

function checkCredentialSpec(credential: Readonly<Record<string, string | undefined>>): void {
  const [first, second] = Object.keys(credential)
    .filter((key) => credential[key] !== undefined && credential[key] !== '')
    .map((key) => quoted(key.toLowerCase()))
    .sort();
  if (first === undefined) {
    throw invalid('invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec');
  }
  if (second === undefined) return;
  throw invalid(`invalid CredentialSpec: cannot specify both ${first} and ${second} credential specs`);
}

function checkUpdateWords(config: UpdateConfig | undefined): void {
  const { FailureAction = '', Order = '' } = config ?? {};
  if (!['', 'pause', 'continue', 'rollback'].includes(FailureAction)) {
    throw invalid(`unrecognized update failure action ${FailureAction}`);
  }
  if (!['', 'stop-first', 'start-first'].includes(Order)) throw invalid(`unrecognized update order ${Order}`);
}

function checkWord(word: string | undefined, known: string[], what: string): void {
  if (word === undefined || word === '' || known.includes(word)) return;
  throw invalid(`invalid ${what}: ${quoted(word)}`);
}
