/** A node's role, in the places where it is kept. They differ while the node goes from one role to the other. */
export interface RoleFacts {
  /** What the leader said last of what this node is to be; undefined before it has said anything. */
  told: 'worker' | 'manager' | undefined;
  /** In the node file: what this node does. */
  kept: 'worker' | 'manager';
  /** In its certificate: what others let it do. */
  certified: 'worker' | 'manager';
  /** Whether a manager runs in this process. */
  runs: boolean;
}

export type RoleStep = 'renew' | 'become-manager' | 'become-worker';

/**
 * The next step of a node towards what it was told to be, or undefined when it is that. Nothing else remembers how far
 * a change has come: after a step, and after a stop at any moment of one, the facts lead to the same end.
 *
 * - `renew`: get a certificate of the role that was told.
 * - `become-manager`: with that certificate in hand, run a manager, its log empty for the leader to fill.
 * - `become-worker`: the leader has taken this node out of the managers' log: end the manager, remove its log. Before
 *   the certificate is asked for, so that a manager which is none any more stands in nobody's way meanwhile.
 */
export function nextRoleStep({ told, kept, certified, runs }: RoleFacts): RoleStep | undefined {
  if (told === undefined) return undefined;
  if (told === 'worker' && (kept === 'manager' || runs)) return 'become-worker';
  if (told !== certified) return 'renew';
  return told === 'manager' && !(kept === 'manager' && runs) ? 'become-manager' : undefined;
}
