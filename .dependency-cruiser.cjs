/** Who may import whom. The layers are those of docs/ARCHITECTURE.md. */
const packages = [
  'std',
  'agent-native',
  'api',
  'raft',
  'overlay-net',
  'manager',
  'worker',
  'stack-specs',
  'cli',
  'test',
  'bench',
];
const mayImport = {
  std: [],
  'agent-native': ['std'],
  api: ['std'],
  raft: ['std'],
  'overlay-net': ['std', 'agent-native'],
  manager: ['std', 'api', 'raft', 'overlay-net'],
  worker: ['std', 'api', 'overlay-net', 'agent-native'],
  'stack-specs': ['std', 'api'],
  cli: ['std', 'agent-native', 'api', 'raft', 'overlay-net', 'manager', 'worker', 'stack-specs'],
  test: ['std', 'api', 'raft', 'manager', 'worker', 'cli'],
  bench: ['std', 'agent-native', 'api', 'raft', 'overlay-net', 'manager', 'worker', 'stack-specs', 'test'],
};

module.exports = {
  forbidden: [
    { name: 'no-cycle', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'core-is-pure',
      comment: 'a core imports other cores, models and std',
      severity: 'error',
      from: { path: '^[^/]+/core/', pathNot: '\\.test\\.ts$' },
      to: { path: '^[^/]+/io/|^api/(client|gen)/|^node:', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'core-without-node',
      severity: 'error',
      from: { path: '^([^/]+/core|std|api/model)/', pathNot: '^std/io/|\\.test\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
    ...packages.map((name) => ({
      name: `${name}-imports-only-${mayImport[name].join('-') || 'itself'}`,
      severity: 'error',
      from: { path: `^${name}/` },
      to: { path: `^(${packages.filter((other) => other !== name && !mayImport[name].includes(other)).join('|')})/` },
    })),
  ],
  options: {
    doNotFollow: { path: 'node_modules|/dist/' },
    exclude: { path: '(^|/)(dist|node_modules)/' },
    includeOnly: `^(${packages.join('|')})/`,
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'default'] },
  },
};
