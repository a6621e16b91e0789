import { ANY, type CommandGroup, NONE, ONE, SOME } from './command-entry.js';

const nodes = () => import('../commands/nodes.js');
const nodeChanges = () => import('../commands/node-changes.js');

export const NODE: CommandGroup = {
  name: 'node',
  short: 'Manage Swarm nodes',
  commands: [
    {
      name: 'demote',
      use: '[OPTIONS] NODE [NODE...]',
      short: 'Demote one or more nodes from manager in the swarm',
      examples: ['swarmctl node demote manager2', 'swarmctl node demote --force manager2'],
      args: SOME,
      load: async () => (await nodeChanges()).demote,
    },
    {
      name: 'inspect',
      use: '[OPTIONS] self|NODE [NODE...]',
      short: 'Display detailed information on one or more nodes',
      examples: ['swarmctl node inspect --pretty self', "swarmctl node inspect --format '{{.Status.Addr}}' worker1"],
      args: SOME,
      load: async () => (await nodes()).inspect,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List nodes in the swarm',
      examples: ['swarmctl node ls --filter role=manager', "swarmctl node ls --format '{{.Hostname}}: {{.Status}}'"],
      args: NONE,
      load: async () => (await nodes()).list,
    },
    {
      name: 'promote',
      use: 'NODE [NODE...]',
      short: 'Promote one or more nodes to manager in the swarm',
      examples: ['swarmctl node promote worker1 worker2'],
      args: SOME,
      load: async () => (await nodeChanges()).promote,
    },
    {
      name: 'ps',
      use: '[OPTIONS] [NODE...]',
      short: 'List tasks running on one or more nodes, defaults to current node',
      examples: ['swarmctl node ps', 'swarmctl node ps --filter desired-state=running worker1'],
      args: ANY,
      load: async () => (await nodes()).ps,
    },
    {
      name: 'rebalance',
      use: '[OPTIONS]',
      short: 'Spread the tasks of all services anew over the nodes',
      examples: ['swarmctl node rebalance', 'swarmctl node rebalance --parallelism 3 --timeout 20m'],
      args: NONE,
      load: async () => (await import('../commands/rebalance.js')).ofNodes,
    },
    {
      name: 'rm',
      aliases: ['remove'],
      use: '[OPTIONS] NODE [NODE...]',
      short: 'Remove one or more nodes from the swarm',
      examples: ['swarmctl node rm worker1', 'swarmctl node rm --force manager3'],
      args: SOME,
      load: async () => (await nodes()).remove,
    },
    {
      name: 'update',
      use: '[OPTIONS] NODE',
      short: 'Update a node',
      examples: [
        'swarmctl node update --availability drain --wait worker1',
        'swarmctl node update --label-add disk=ssd --label-rm rack worker1',
        'swarmctl node update --role manager worker1',
      ],
      args: ONE,
      load: async () => (await nodeChanges()).update,
    },
  ],
};
