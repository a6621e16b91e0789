/** Cases that do not pass yet, by what they wait for. */
const WAITING: Readonly<Record<string, readonly string[]>> = {};

/** Case to what it waits for. */
export const NOT_YET = new Map<string, string>(
  Object.entries(WAITING).flatMap(([what, cases]) => cases.map((name) => [name, what] as const)),
);
