/**
 * Whether a history of one object could have happened one operation after the other, each somewhere between its call
 * and its return. The search of Wing and Gong, with the memory of Lowe: a set of operations done and a state are tried
 * once (J. Wing, C. Gong, "Testing and Verifying Concurrent Objects", 1993; G. Lowe, "Testing for linearizability", 2017).
 */
export interface Operation<Call> {
  call: Call;
  calledMs: number;
  /** Infinity when nobody knows whether it happened, or will. */
  returnedMs: number;
}

export interface Model<State, Call> {
  initial: State;
  /** The state after `call`, or undefined when it could not have answered so. */
  step(state: State, call: Call): State | undefined;
  /** Equal for equal states. */
  key(state: State): string;
}

export function isLinearizable<State, Call>(model: Model<State, Call>, history: readonly Operation<Call>[]): boolean {
  const operations = [...history].sort((a, b) => a.calledMs - b.calledMs);
  const isDone = operations.map(() => false);
  const tried = new Set<string>();
  const search = (state: State, left: number): boolean => {
    if (left === 0) return true;
    const memory = `${isDone.map(Number).join('')} ${model.key(state)}`;
    if (tried.has(memory)) return false;
    tried.add(memory);
    // What was called after another had returned cannot come before it.
    let firstReturnMs = Number.POSITIVE_INFINITY;
    operations.forEach(({ returnedMs }, i) => {
      if (!isDone[i]) firstReturnMs = Math.min(firstReturnMs, returnedMs);
    });
    for (const [i, { call, calledMs, returnedMs }] of operations.entries()) {
      if (isDone[i] || calledMs > firstReturnMs) continue;
      const next = model.step(state, call);
      if (next === undefined) continue;
      isDone[i] = true;
      if (search(next, left - (returnedMs === Number.POSITIVE_INFINITY ? 0 : 1))) return true;
      isDone[i] = false;
    }
    return false;
  };
  return search(model.initial, operations.filter(({ returnedMs }) => returnedMs !== Number.POSITIVE_INFINITY).length);
}

export type ListCall = { type: 'append'; value: string } | { type: 'read'; values: readonly string[] };

/** A list that is appended to and read whole. */
export const listModel: Model<readonly string[], ListCall> = {
  initial: [],
  step(state, call) {
    if (call.type === 'append') return [...state, call.value];
    const isSame = call.values.length === state.length && call.values.every((value, i) => value === state[i]);
    return isSame ? state : undefined;
  },
  key: (state) => state.join(),
};

/**
 * The history of a list, each value of which is appended once: what nobody saw of the appends whose outcome is unknown
 * may be left out, as it may happen after all the rest.
 */
export function isListLinearizable(history: readonly Operation<ListCall>[]): boolean {
  const seen = new Set(history.flatMap(({ call }) => (call.type === 'read' ? call.values : [])));
  return isLinearizable(
    listModel,
    history.filter(
      ({ call, returnedMs }) => call.type === 'read' || returnedMs !== Number.POSITIVE_INFINITY || seen.has(call.value),
    ),
  );
}
