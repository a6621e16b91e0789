import { type CommandGroup, NONE, ONE, SOME } from './command-entry.js';

const services = () => import('../commands/services.js');
const changes = () => import('../commands/service-changes.js');
const logs = () => import('../commands/logs.js');

export const SERVICE: CommandGroup = {
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
      name: 'rebalance',
      use: '[OPTIONS] SERVICE [SERVICE...]',
      short: 'Spread the tasks of one or more services anew over the nodes',
      examples: ['swarmctl service rebalance web', 'swarmctl service rebalance --parallelism 3 --detach web'],
      args: SOME,
      load: async () => (await import('../commands/rebalance.js')).ofServices,
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
      name: 'rollback',
      use: '[OPTIONS] SERVICE',
      short: "Revert changes to a service's configuration",
      examples: ['swarmctl service rollback web'],
      args: ONE,
      load: async () => (await changes()).rollBack,
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
