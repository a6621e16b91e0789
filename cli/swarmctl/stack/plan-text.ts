import type { FieldChange } from './spec-diff.js';
import type { PlannedAction, StackPlan } from './stack-plan.js';

const SIGNS: Record<PlannedAction, string> = { create: '+', update: '~', check: '?', unchanged: ' ', prune: '-' };
const WORDS: Record<PlannedAction, string> = {
  create: 'create',
  update: 'update',
  check: 'update if its data are new (they cannot be read back)',
  unchanged: 'unchanged',
  prune: 'remove',
};

/** A plan for people: a line an object, and under one that is updated a line a field. */
export function planText(plan: StackPlan): string {
  const lines: string[] = [];
  const counts: Record<PlannedAction, number> = { create: 0, update: 0, check: 0, unchanged: 0, prune: 0 };
  for (const [kind, objects] of [
    ['network', plan.networks],
    ['secret', plan.secrets],
    ['config', plan.configs],
    ['service', plan.services],
  ] as const) {
    for (const { name, action, changes = [] } of objects) {
      counts[action]++;
      lines.push(`${SIGNS[action]} ${kind} ${name}: ${WORDS[action]}`);
      for (const change of changes) lines.push(`    ${changeText(change)}`);
    }
  }
  const { create, update, check, unchanged, prune } = counts;
  lines.push(
    '',
    `${create} to create, ${update} to update, ${check} to check, ${unchanged} unchanged, ${prune} to remove`,
  );
  return `${lines.join('\n')}\n`;
}

function changeText({ path, before, after }: FieldChange): string {
  // A config's data would fill the screen.
  if (path === 'Data') return 'Data: other data';
  if (before === undefined) return `${path}: + ${JSON.stringify(after)}`;
  if (after === undefined) return `${path}: - ${JSON.stringify(before)}`;
  return `${path}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`;
}
