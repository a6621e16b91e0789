/** What is asked of an event, whoever it is of: the engine's have the same form. */
export interface FilteredEvent {
  type: string;
  action: string;
  scope: string;
  id: string;
  attributes: Readonly<Record<string, string>>;
}

/** Filters that name an object: whatever the event's type is, its id or its name must begin so. */
const BY_NAME = new Set([
  ...['container', 'daemon', 'plugin', 'volume', 'network', 'node', 'service', 'secret', 'config'],
  'task',
]);

/**
 * Whether an event is one that was asked for, by Docker's rules (daemon/events/filter.go): for each key one of the
 * values, but all of the labels, which are looked for among the attributes. A key that is not known asks for nothing.
 * Beyond Docker, the events of tasks are found by their service and by their node too.
 */
export function isAskedFor(event: FilteredEvent, filters: ReadonlyMap<string, readonly string[]>): boolean {
  for (const [key, values] of filters) if (values.length > 0 && !passes(event, key, values)) return false;
  return true;
}

function passes(event: FilteredEvent, key: string, values: readonly string[]): boolean {
  const { type, action, scope, attributes } = event;
  switch (key) {
    case 'type':
      return values.includes(type);
    case 'event':
      return values.includes(action);
    case 'scope':
      return values.includes(scope);
    case 'label':
      return values.every((label) => hasLabel(attributes, label));
    case 'image':
      return values.includes(attributes['image'] ?? '');
    default:
      return !BY_NAME.has(key) || namesOf(event, key).some((name) => values.some((value) => name.startsWith(value)));
  }
}

function namesOf({ type, id, attributes }: FilteredEvent, key: string): string[] {
  const names = [id, attributes['name'] ?? ''];
  if (type !== 'task') return names;
  if (key === 'service') return [...names, attributes['service.id'] ?? ''];
  return key === 'node' ? [...names, attributes['node.id'] ?? ''] : names;
}

function hasLabel(attributes: FilteredEvent['attributes'], label: string): boolean {
  const at = label.indexOf('=');
  const name = at === -1 ? label : label.slice(0, at);
  return Object.hasOwn(attributes, name) && (at === -1 || attributes[name] === label.slice(at + 1));
}
