/** Cases that do not pass yet, by what they wait for. */
const WAITING = {
  'ports in ingress mode': [
    'service-inspect-pretty',
    'create-many-flags',
    'create-publish-short',
    'create-publish-range',
    'update-endpoint-mode',
    'service-ls',
    'err-port-conflict',
  ],
} as const;

/** Case to what it waits for. */
export const NOT_YET = new Map<string, string>(
  Object.entries(WAITING).flatMap(([what, cases]) => cases.map((name) => [name, what] as const)),
);
