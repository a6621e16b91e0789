import { Ajv } from 'ajv';
import fc from 'fast-check';
import t from 'tap';
import { Diagnostics, type Plain, printYaml, readYaml } from '../document/index.js';
import { STACK_SCHEMA, validate } from './index.js';

const oracle = new Ajv({ strict: false, allErrors: false }).compile(STACK_SCHEMA);

function isValid(value: Plain): boolean {
  const diagnostics = new Diagnostics();
  const node = readYaml({ path: 'x', text: printYaml(value) }, diagnostics);
  if (node !== undefined) validate(node, STACK_SCHEMA, diagnostics);
  return !diagnostics.hasErrors;
}

const leaf = fc.constantFrom<Plain>(
  'a',
  '',
  5,
  -1,
  0.5,
  true,
  null,
  '10s',
  '80:80',
  'start-first',
  'bind',
  'service_healthy',
  '5',
);
const keys = [
  'image',
  'ports',
  'volumes',
  'environment',
  'deploy',
  'replicas',
  'resources',
  'limits',
  'memory',
  'cpus',
  'healthcheck',
  'interval',
  'retries',
  'networks',
  'aliases',
  'external',
  'name',
  'file',
  'type',
  'target',
  'source',
  'tmpfs',
  'size',
  'update_config',
  'order',
  'parallelism',
  'depends_on',
  'condition',
  'web',
  'x-own',
  'ulimits',
  'nofile',
  'soft',
  'hard',
  'secrets',
  'mode',
  'uid',
  'labels',
  'command',
  'bind',
  'logging',
  'driver',
  'options',
  'ipam',
  'config',
  'subnet',
  'build',
];

t.test('what the schema takes and refuses is what a library of JSON Schema takes and refuses', async (t) => {
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ depthSize: 'small', maxDepth: 4 }, leaf, tie('list'), tie('map')),
    list: fc.array(tie('tree'), { maxLength: 3 }),
    map: fc.dictionary(fc.constantFrom(...keys), tie('tree'), { maxKeys: 4, noNullPrototype: true }),
  }));
  const service = fc.dictionary(fc.constantFrom(...keys), tree, { maxKeys: 3, noNullPrototype: true });
  const file = fc.record(
    {
      services: fc.dictionary(fc.constantFrom('web', 'a b'), service, { maxKeys: 2, noNullPrototype: true }),
      networks: fc.dictionary(fc.constantFrom('n'), tree, { noNullPrototype: true }),
      volumes: fc.dictionary(fc.constantFrom('v'), tree, { noNullPrototype: true }),
      secrets: fc.dictionary(fc.constantFrom('s'), tree, { noNullPrototype: true }),
    },
    { requiredKeys: ['services'] },
  );
  let taken = 0;
  fc.assert(
    fc.property(file, (value) => {
      const expected = oracle(value);
      if (expected) taken++;
      return isValid(value as Plain) === expected;
    }),
    { numRuns: 1500 },
  );
  t.ok(taken > 0, `${taken} of them are taken`);
});
