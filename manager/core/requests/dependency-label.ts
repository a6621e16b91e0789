import type { ServiceSpec } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { View } from '../store/view.js';

/**
 * The label under which a service carries what its tasks wait for: `SERVICE:CONDITION[:update]`, with commas between.
 * With `:update`, new versions of the spec wait as well, and not the first start alone.
 */
const DEPENDS_ON_LABEL = 'com.apiary.depends-on';

const CONDITIONS = ['service_started', 'service_healthy', 'service_completed_successfully'] as const;

export interface Dependency {
  /** The service's name. */
  service: string;
  condition: (typeof CONDITIONS)[number];
  onUpdate: boolean;
}

/** Without what cannot be read, which `checkDependencies` refuses. */
export function dependenciesOf(labels: Readonly<Record<string, string>> | undefined): Dependency[] {
  const text = labels?.[DEPENDS_ON_LABEL] ?? '';
  return text === '' ? [] : text.split(',').flatMap((entry) => parse(entry) ?? []);
}

function parse(entry: string): Dependency | undefined {
  const [service = '', word = 'service_started', update, ...rest] = entry.trim().split(':');
  const condition = CONDITIONS.find((known) => known === word);
  const isKnown = service !== '' && condition !== undefined && rest.length === 0 && (update ?? 'update') === 'update';
  return isKnown ? { service, condition, onUpdate: update === 'update' } : undefined;
}

/**
 * Refuses a label that cannot be read, and services that would wait for each other for ever.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function checkDependencies(view: View, name: string, { Labels }: ServiceSpec): void {
  for (const entry of (Labels?.[DEPENDS_ON_LABEL] ?? '').split(',').filter((one) => one !== '')) {
    if (parse(entry) !== undefined) continue;
    throw new ApiaryError(
      'invalid-argument',
      `label ${DEPENDS_ON_LABEL}: ${JSON.stringify(entry)}: expected SERVICE:CONDITION, with one of ${CONDITIONS.join(', ')}`,
    );
  }
  const circle = findCircle(view, name, Labels);
  if (circle === undefined) return;
  throw new ApiaryError('invalid-argument', `services would wait for each other for ever: ${circle.join(' -> ')}`);
}

function findCircle(view: View, name: string, labels: ServiceSpec['Labels']): string[] | undefined {
  const seen = new Set<string>();
  const pending = dependenciesOf(labels).map(({ service }) => [name, service]);
  for (let trail = pending.pop(); trail !== undefined; trail = pending.pop()) {
    const last = trail.at(-1) ?? '';
    if (last.toLowerCase() === name.toLowerCase()) return trail;
    if (seen.has(last)) continue;
    seen.add(last);
    for (const { service } of dependenciesOf(view.serviceByName(last)?.spec.Labels)) pending.push([...trail, service]);
  }
  return undefined;
}
