import type { CommandModule } from './commands/context.js';

/** How many arguments a command takes; `check` says what is wrong with them otherwise. */
export interface ArgumentRule {
  least: number;
  most: number;
  check?: (args: readonly string[]) => Promise<string | undefined>;
}

export interface CommandEntry {
  name: string;
  aliases?: string[];
  /** What follows the command's path in its usage. */
  use: string;
  short: string;
  examples?: string[];
  args: ArgumentRule;
  /** All that follows the first argument is arguments: what a service runs may have flags of its own. */
  flagsFirst?: boolean;
  /** Loads the code: only that of the command that runs is. */
  load: () => Promise<CommandModule>;
}

export interface CommandGroup {
  name: string;
  short: string;
  commands: CommandEntry[];
}

const NONE: ArgumentRule = { least: 0, most: 0 };
const ANY: ArgumentRule = { least: 0, most: Number.POSITIVE_INFINITY };
const SOME: ArgumentRule = { least: 1, most: Number.POSITIVE_INFINITY };
const ONE: ArgumentRule = { least: 1, most: 1 };

const services = () => import('./commands/services.js');
const changes = () => import('./commands/service-changes.js');
const contents = () => import('./commands/contents.js');
const contentChanges = () => import('./commands/content-changes.js');
const logs = () => import('./commands/logs.js');
const nodes = () => import('./commands/nodes.js');
const backup = () => import('./commands/backup.js');
const logKey = () => import('./commands/log-key.js');
const restore = () => import('./commands/restore.js');
const networks = () => import('./commands/networks.js');
const nodeChanges = () => import('./commands/node-changes.js');
const events = () => import('./commands/events.js');
const settings = () => import('./commands/cluster-settings.js');
const swarm = () => import('./commands/swarm.js');
const system = () => import('./commands/system.js');
const clientCerts = () => import('./commands/client-cert.js');
const locks = () => import('./commands/unlock.js');

const SERVICE: CommandGroup = {
  name: 'service',
  short: 'Manage Swarm services',
  commands: [
    {
      name: 'create',
      use: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
      short: 'Create a new service',
      examples: [
        'swarmctl service create --name web --replicas 3 nginx',
        'swarmctl service create --name web --publish published=8080,target=80,mode=host nginx',
        'swarmctl service create --mode global --mount type=bind,source=/var/log,target=/logs busybox tail -f /logs/syslog',
        'swarmctl service create --constraint node.labels.disk==ssd --limit-memory 512m --env MODE=fast redis',
      ],
      args: SOME,
      flagsFirst: true,
      load: async () => (await changes()).create,
    },
    {
      name: 'inspect',
      use: '[OPTIONS] SERVICE [SERVICE...]',
      short: 'Display detailed information on one or more services',
      examples: [
        'swarmctl service inspect --pretty web',
        "swarmctl service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' web",
      ],
      args: SOME,
      load: async () => (await services()).inspect,
    },
    {
      name: 'logs',
      use: '[OPTIONS] SERVICE|TASK',
      short: 'Fetch the logs of a service or task',
      examples: ['swarmctl service logs --follow --tail 20 web', 'swarmctl service logs --since 10m --timestamps web'],
      args: ONE,
      load: async () => (await logs()).serviceLogs,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List services',
      examples: ['swarmctl service ls --filter mode=global', "swarmctl service ls --format '{{.Name}}: {{.Replicas}}'"],
      args: NONE,
      load: async () => (await services()).list,
    },
    {
      name: 'ps',
      use: '[OPTIONS] SERVICE [SERVICE...]',
      short: 'List the tasks of one or more services',
      examples: ['swarmctl service ps --no-trunc web', 'swarmctl service ps --filter desired-state=running web'],
      args: SOME,
      load: async () => (await services()).ps,
    },
    {
      name: 'rm',
      aliases: ['remove'],
      use: 'SERVICE [SERVICE...]',
      short: 'Remove one or more services',
      examples: ['swarmctl service rm web'],
      args: SOME,
      load: async () => (await services()).remove,
    },
    {
      name: 'scale',
      use: 'SERVICE=REPLICAS [SERVICE=REPLICAS...]',
      short: 'Scale one or multiple replicated services',
      examples: ['swarmctl service scale web=5 worker=2'],
      args: { ...SOME, check: async (args) => (await changes()).checkScaleArgs(args) },
      load: async () => (await changes()).scale,
    },
    {
      name: 'update',
      use: '[OPTIONS] SERVICE',
      short: 'Update a service',
      examples: [
        'swarmctl service update --image nginx:1.27 web',
        'swarmctl service update --env-add MODE=slow --env-rm DEBUG --update-parallelism 2 web',
        'swarmctl service update --rollback web',
      ],
      args: ONE,
      load: async () => (await changes()).update,
    },
  ],
};

const NETWORK: CommandGroup = {
  name: 'network',
  short: 'Manage networks',
  commands: [
    {
      name: 'create',
      use: '[OPTIONS] NETWORK',
      short: 'Create a network',
      examples: [
        'swarmctl network create --driver overlay backend',
        'swarmctl network create --driver overlay --subnet 172.28.0.0/16 --internal --label tier=data data',
      ],
      args: ONE,
      load: async () => (await networks()).create,
    },
    {
      name: 'inspect',
      use: '[OPTIONS] NETWORK [NETWORK...]',
      short: 'Display detailed information on one or more networks',
      examples: ["swarmctl network inspect --format '{{(index .IPAM.Config 0).Subnet}}' backend"],
      args: SOME,
      load: async () => (await networks()).inspect,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List networks',
      examples: ['swarmctl network ls --filter driver=overlay', "swarmctl network ls --format '{{.Name}}: {{.Scope}}'"],
      args: NONE,
      load: async () => (await networks()).list,
    },
    {
      name: 'prune',
      use: '[OPTIONS]',
      short: 'Remove all unused networks',
      examples: ['swarmctl network prune --force', 'swarmctl network prune --filter until=24h'],
      args: NONE,
      load: async () => (await networks()).prune,
    },
    {
      name: 'rm',
      aliases: ['remove'],
      use: 'NETWORK [NETWORK...]',
      short: 'Remove one or more networks',
      examples: ['swarmctl network rm backend'],
      args: SOME,
      load: async () => (await networks()).remove,
    },
  ],
};

const NODE: CommandGroup = {
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

const SECRET = contentGroup('secret', 'SECRET', '[OPTIONS] SECRET [file|-]', {
  short: 'Create a secret from a file or STDIN as content',
  args: { least: 1, most: 2 },
});
const CONFIG = contentGroup('config', 'CONFIG', '[OPTIONS] CONFIG file|-', {
  short: 'Create a config from a file or STDIN',
  args: { least: 2, most: 2 },
});

/** The commands of secrets or of configs. `update` is ours: Docker has neither another content for a name nor it. */
function contentGroup(
  kind: 'secret' | 'config',
  word: string,
  createUse: string,
  creation: { short: string; args: ArgumentRule },
): CommandGroup {
  const file = kind === 'secret' ? 'key.pem' : 'nginx.conf';
  const name = kind === 'secret' ? 'site-key' : 'site-conf';
  return {
    name: kind,
    short: `Manage Swarm ${kind}s`,
    commands: [
      {
        name: 'create',
        use: createUse,
        ...creation,
        examples: [
          `swarmctl ${kind} create ${name} ${file}`,
          `swarmctl ${kind} create --label tier=front --template-driver golang ${name} ${file}.tmpl`,
        ],
        load: async () => (await contentChanges())[kind].create,
      },
      {
        name: 'inspect',
        use: `[OPTIONS] ${word} [${word}...]`,
        short: `Display detailed information on one or more ${kind}s`,
        examples: [`swarmctl ${kind} inspect --pretty ${name}`],
        args: SOME,
        load: async () => (await contents())[kind].inspect,
      },
      {
        name: 'ls',
        aliases: ['list'],
        use: '[OPTIONS]',
        short: `List ${kind}s`,
        examples: [`swarmctl ${kind} ls --filter label=tier=front`],
        args: NONE,
        load: async () => (await contents())[kind].list,
      },
      {
        name: 'rm',
        aliases: ['remove'],
        use: `${word} [${word}...]`,
        short: `Remove one or more ${kind}s`,
        examples: [`swarmctl ${kind} rm ${name}`],
        args: SOME,
        load: async () => (await contents())[kind].remove,
      },
      {
        name: 'update',
        use: `[OPTIONS] ${word} file|-`,
        short: `Give a ${kind} another content, as a new version`,
        examples: [`swarmctl ${kind} update ${name} ${file}`],
        args: { least: 2, most: 2 },
        load: async () => (await contentChanges())[kind].update,
      },
    ],
  };
}

/** Docker has these under `swarm`; here they stand at the top as well. */
const SWARM_COMMANDS: CommandEntry[] = [
  {
    name: 'init',
    use: '[OPTIONS]',
    short: 'Initialize a swarm',
    examples: [
      'swarmctl init --advertise-addr 192.168.1.10',
      'swarmctl init --advertise-addr eth0 --availability drain',
      'swarmctl init --force-new-cluster',
    ],
    args: NONE,
    load: async () => (await swarm()).init,
  },
  {
    name: 'join',
    use: '[OPTIONS] HOST:PORT',
    short: 'Join a swarm as a node and/or manager',
    examples: ['swarmctl join --token SWMTKN-1-... 192.168.1.10:2377'],
    args: ONE,
    load: async () => (await swarm()).join,
  },
  {
    name: 'join-token',
    use: '[OPTIONS] (worker|manager)',
    short: 'Manage join tokens',
    examples: ['swarmctl join-token worker', 'swarmctl join-token --rotate --quiet manager'],
    args: ONE,
    load: async () => (await swarm()).joinToken,
  },
  {
    name: 'leave',
    use: '[OPTIONS]',
    short: 'Leave the swarm',
    examples: ['swarmctl leave', 'swarmctl leave --force'],
    args: NONE,
    load: async () => (await swarm()).leave,
  },
  {
    name: 'update',
    use: '[OPTIONS]',
    short: 'Update the swarm',
    examples: [
      'swarmctl update --task-history-limit 2',
      'swarmctl update --cert-expiry 720h --dispatcher-heartbeat 10s',
    ],
    args: NONE,
    load: async () => (await settings()).update,
  },
  {
    name: 'unlock',
    use: '',
    short: 'Unlock swarm',
    examples: ['swarmctl unlock', 'swarmctl unlock < key.txt'],
    args: NONE,
    load: async () => (await locks()).unlock,
  },
  {
    name: 'unlock-key',
    use: '[OPTIONS]',
    short: 'Manage the unlock key',
    examples: ['swarmctl unlock-key -q', 'swarmctl unlock-key --rotate'],
    args: NONE,
    load: async () => (await locks()).unlockKey,
  },
];

const SWARM: CommandGroup = { name: 'swarm', short: 'Manage Swarm', commands: SWARM_COMMANDS };

const CLIENT_CERT: CommandGroup = {
  name: 'client-cert',
  short: 'Manage who may call swarmd over TCP',
  commands: [
    {
      name: 'create',
      use: '[OPTIONS] NAME',
      short: 'Create a client certificate',
      examples: [
        'swarmctl client-cert create --role operator alice',
        'swarmctl client-cert create --role operator --stack shop --validity 720h -o shop-ci ci',
      ],
      args: ONE,
      load: async () => (await clientCerts()).create,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '',
      short: 'List client certificates',
      examples: ['swarmctl client-cert ls'],
      args: NONE,
      load: async () => (await clientCerts()).list,
    },
    {
      name: 'revoke',
      aliases: ['rm'],
      use: 'CERTIFICATE [CERTIFICATE...]',
      short: 'Revoke one or more client certificates',
      examples: ['swarmctl client-cert revoke alice'],
      args: SOME,
      load: async () => (await clientCerts()).revoke,
    },
  ],
};

/** Docker has this one under `service` alone; here it takes the name of a task as well, as `service ps` shows it. */
const TASK: CommandGroup = {
  name: 'task',
  short: 'Look at single tasks of services',
  commands: [
    {
      name: 'logs',
      use: '[OPTIONS] TASK',
      short: 'Fetch the logs of a task',
      examples: ['swarmctl task logs --follow web.1.n0qbdlzjz1q2'],
      args: ONE,
      load: async () => (await logs()).taskLogs,
    },
  ],
};

export const GROUPS: CommandGroup[] = [CLIENT_CERT, CONFIG, NETWORK, NODE, SECRET, SERVICE, SWARM, TASK];

export const COMMANDS: CommandEntry[] = [
  ...SWARM_COMMANDS,
  {
    name: 'backup',
    use: '[OPTIONS]',
    short: 'Write the state of the swarm to a file',
    examples: ['swarmctl backup -o swarm-monday.backup', 'swarmctl backup --force -o /srv/backups/swarm.backup'],
    args: NONE,
    load: async () => (await backup()).backup,
  },
  {
    name: 'rotate-log-key',
    use: '',
    short: 'Change the key with which the manager that is asked encrypts its log',
    examples: ['swarmctl rotate-log-key', 'swarmctl --host unix:///run/manager2/swarmd.sock rotate-log-key'],
    args: NONE,
    load: async () => (await logKey()).rotateLogKey,
  },
  {
    name: 'restore',
    use: '[OPTIONS] FILE',
    short: 'Make a stopped swarmd the only manager of a swarm, from a backup',
    examples: [
      'swarmctl restore swarm.backup',
      'swarmctl restore --data-root /srv/swarmd --node manager1 --advertise-addr 10.0.0.1 swarm.backup',
    ],
    args: ONE,
    load: async () => (await restore()).restore,
  },
  {
    name: 'events',
    use: '[OPTIONS]',
    short: 'Get real time events from the server',
    examples: [
      'swarmctl events --filter type=service --filter type=task --since 10m',
      "swarmctl events --filter service=web --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'",
    ],
    args: NONE,
    load: async () => (await events()).events,
  },
  {
    name: 'info',
    use: '[OPTIONS]',
    short: 'Display system-wide information',
    examples: ['swarmctl info', "swarmctl info --format '{{.Swarm.LocalNodeState}}'"],
    args: NONE,
    load: async () => (await system()).info,
  },
  {
    name: 'version',
    use: '[OPTIONS]',
    short: 'Show the version information',
    examples: ["swarmctl version --format '{{.Client.Version}}'"],
    args: NONE,
    load: async () => (await system()).version,
  },
];
