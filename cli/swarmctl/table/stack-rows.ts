import { type Struct, structOf } from '../template/index.js';
import { compareNaturally } from './human.js';
import type { ListKind } from './list.js';

export const STACKS: ListKind = {
  headings: { Name: 'NAME', Services: 'SERVICES' },
  defaultTable: '{{.Name}}\t{{.Services}}',
  raw: { all: 'name: {{.Name}}\nservices: {{.Services}}\n', quiet: 'name: {{.Name}}' },
};

/** @param services  how many each stack has, by the stack's name */
export function stackRows(services: ReadonlyMap<string, number>): Struct[] {
  return [...services]
    .sort(([a], [b]) => compareNaturally(a, b))
    .map(([name, count]) => structOf('*formatter.stackContext', { Name: () => name, Services: () => String(count) }));
}
