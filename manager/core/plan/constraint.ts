import type { NodeRecord } from '../store/records.js';
import { prefixContains } from './ip-prefix.js';

/** A placement constraint, `KEY==VALUE` or `KEY!=VALUE`. */
export interface Constraint {
  key: string;
  equal: boolean;
  value: string;
}

const EXPRESSION = /^\s*([a-z_][a-z0-9\-_.]+)\s*(==|!=)\s*([a-z0-9:\-_\s.*()?+[\]\\^$|/]+?)\s*$/i;

/**
 * Reads one placement constraint. Source of the syntax: SwarmKit's manager/constraint.
 *
 * @returns undefined when it is none
 */
export function parseConstraint(expression: string): Constraint | undefined {
  const match = EXPRESSION.exec(expression);
  const [, key, operator, value] = match ?? [];
  if (key === undefined || value === undefined) return undefined;
  return { key, equal: operator === '==', value };
}

/**
 * The test that a constraint puts nodes to: made once for many of them. Values compare without regard to case, label
 * names with it. A constraint on what is unknown of the node is satisfied by `!=` only. One that cannot be read, or that
 * names no known key, is satisfied by no node: the request was checked at the door, so that only an older record can
 * hold one.
 */
export function constraintTest(expression: string): (node: NodeRecord) => boolean {
  const constraint = parseConstraint(expression);
  if (constraint === undefined) return () => false;
  const { key, equal, value } = constraint;
  if (key.toLowerCase() === 'node.ip') return (node) => prefixContains(value, node.status.addr) === equal;
  const wanted = value.toLowerCase();
  return (node) => {
    const actual = attributeOf(node, key);
    return actual !== undefined && (actual === value || actual.toLowerCase() === wanted) === equal;
  };
}

const NODE_LABELS = 'node.labels.';
const ENGINE_LABELS = 'engine.labels.';

/**
 * What a node has under a key that constraints and spread preferences use: empty when the node lacks it.
 *
 * @returns undefined when there is no such key
 */
export function attributeOf(node: NodeRecord, key: string): string | undefined {
  const lowerKey = key.toLowerCase();
  if (lowerKey.startsWith(NODE_LABELS)) return node.spec.Labels?.[key.slice(NODE_LABELS.length)] ?? '';
  if (lowerKey.startsWith(ENGINE_LABELS)) {
    return node.description?.Engine.Labels?.[key.slice(ENGINE_LABELS.length)] ?? '';
  }
  switch (lowerKey) {
    case 'node.id':
      return node.id;
    case 'node.hostname':
      return node.description?.Hostname ?? '';
    case 'node.role':
      return node.role;
    case 'node.platform.os':
      return node.description?.Platform.OS ?? '';
    case 'node.platform.arch':
      return node.description?.Platform.Architecture ?? '';
    default:
      return undefined;
  }
}
