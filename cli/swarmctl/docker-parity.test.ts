import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { askedOf, inOrder, SideBySide, wordsOf } from './testing/side-by-side.js';

/** Side by side with the docker command line: the same words in, the same requests out, and the same refusals. */

const both = await SideBySide.open(t);
const skip = both.missing;

const CREATES: string[] = [
  'nginx',
  'known:1',
  'docker.io/library/nginx:1.25 -g daemon --flag',
  'registry.example.com:5000/team/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
  '--name web --replicas 3 -l a=b -l c --label d=e=f nginx',
  '--mode global --container-label x=y --hostname h nginx',
  '--mode replicated --replicas 0 nginx',
  '-e A=1 -e B=2 -e A=3 --env FROM_CALLER --env NOT_THERE nginx',
  '--mount type=bind,source=/a,target=/b,readonly --mount src=vol,dst=/c nginx',
  '--mount type=volume,src=v,dst=/c,volume-driver=local,volume-opt=a=b,volume-opt=c=d,volume-label=x=1,volume-nocopy nginx',
  '--mount type=tmpfs,destination=/t,tmpfs-size=64m,tmpfs-mode=1770 --mount type=bind,src=/x,dst=/y,bind-propagation=rshared nginx',
  '--mount type=bind,src=/x,dst=/y,bind-recursive=disabled,consistency=cached nginx',
  '--mount type=bind,"src=/with,comma",dst=/y nginx',
  '-p 80 nginx',
  '-p 8080:80 -p 53:53/udp --publish published=9000,target=90,mode=host,protocol=sctp nginx',
  '-p 8000-8002:80-82/tcp -p 9000-9001:90 nginx',
  '--constraint node.role==manager --constraint node.labels.a!=b --placement-pref spread=node.labels.x --replicas-max-per-node 2 nginx',
  '--limit-cpu .5 --limit-memory 1.5g --limit-pids 100 --reserve-cpu 1/4 --reserve-memory 10MiB nginx',
  '--restart-condition on-failure nginx',
  '--restart-delay 1m30s --restart-max-attempts 3 --restart-window 2.5s nginx',
  '--update-parallelism 0 nginx',
  '--update-delay 10s --update-monitor 1m --update-failure-action rollback --update-max-failure-ratio .3 --update-order start-first nginx',
  '--rollback-parallelism 2 --rollback-delay 1s --rollback-monitor 2s --rollback-failure-action continue --rollback-max-failure-ratio 1 --rollback-order start-first nginx',
  '--health-cmd true --health-interval 1s --health-retries 3 --health-timeout 2s --health-start-period 3s nginx',
  '--no-healthcheck nginx',
  '--user 1:2 --group a --group b --workdir /w -t --read-only --init --stop-signal SIGINT --stop-grace-period 20s nginx',
  '--entrypoint "sh -c" nginx',
  '--dns 8.8.8.8 --dns 0:0:0:0:0:0:0:1 --dns-option ndots:2 --dns-search example.com. --host db:10.0.0.1 --host six=[::1] nginx',
  '--cap-add net_admin --cap-add CAP_SYS_TIME --cap-drop ALL --cap-drop chown nginx',
  '--cap-add ALL --cap-drop ALL nginx',
  '--sysctl net.core.somaxconn=10 --ulimit nofile=10:20 --ulimit core=-1 nginx',
  '--log-driver syslog --log-opt a=b --log-opt c=d nginx',
  '--log-driver none nginx',
  '--endpoint-mode DNSRR --isolation default nginx',
  '-qt --replicas=2 --tty=false nginx -x',
  '--network back --network name=front,alias=a,alias=B,driver-opt=x=y nginx',
  '--network nope nginx',
  '--network name=back,nope nginx',
  '--network name=back,driver-opt=x nginx',
  '--network alias=x nginx',
  '--network nope=x nginx',
  '--secret key9 --secret source=key10,target=/etc/k,uid=5,gid=staff,mode=0400 nginx',
  '--secret src=key9,mode=444 --secret src=key9,target=other,mode=0x1ff nginx',
  '--secret key9 --secret src=key10,target=key9 nginx',
  '--secret nope --config nope nginx',
  '--secret target=x nginx',
  '--secret key9,key10 nginx',
  '--secret source=key9,nope=1 nginx',
  '--secret source=key9,mode=9x nginx',
  '--secret source=key9,mode=99999999999999 nginx',
  '--config tmpl --config source=key9,target=/a/b,mode=0o440 nginx',
  '--config nope nginx',
  '--config tmpl --config tmpl nginx',
  '--config source=tmpl,nope=x nginx',
  '--generic-resource gpu=2 --generic-resource ssd=1 nginx',
  '--generic-resource gpu nginx',
  '--generic-resource gpu=a nginx',
  '--generic-resource gpu=1=2 nginx',
  '--generic-resource gpu=-1 nginx',
  '--generic-resource gpu=1 --generic-resource gpu=2 nginx',
  '--credential-spec file://spec.json --isolation hyperv nginx',
  '--credential-spec registry://x nginx',
  '--credential-spec x nginx',
  '--oom-score-adj x nginx',
  '--health-start-interval x nginx',
];

/** Of a later API than the others. */
const LATER_CREATES = [
  '--oom-score-adj -500 nginx',
  '--oom-score-adj 0 --health-start-interval 2s nginx',
  '--no-healthcheck --health-start-interval 1s nginx',
];

/** Updates of a service that has networks, secrets, configs and generic resources. */
const REFERENCE_UPDATES = [
  '--network-add back',
  '--network-rm back --network-add name=front,alias=x',
  '--network-add front --network-add front',
  '--network-rm nope',
  '--secret-add key10 --secret-rm key9',
  '--secret-add source=key10,target=x,mode=0400',
  '--secret-rm nope',
  '--secret-add nope',
  '--config-rm tmpl',
  '--config-add key9 --config-rm nope',
  '--config-add nope',
  '--generic-resource-add ssd=1 --generic-resource-add gpu=4',
  '--generic-resource-rm gpu',
  '--generic-resource-rm nope',
  '--generic-resource-add gpu=x',
  '--credential-spec file://x',
  '--image nginx',
];

const UPDATES: string[] = [
  '--image nginx',
  '--image known:1 --args "a \'b c\' d\\ e"',
  '--replicas 7 --force',
  '--env-add A=9 --env-add C=3 --env-rm B',
  '--env-rm A --env-rm B',
  '--label-add x=y --label-rm tier --container-label-add d=e --container-label-rm c',
  '--label-rm tier --label-rm zone',
  '--mount-add type=tmpfs,target=/t --mount-add type=bind,src=/new,dst=/data --mount-rm /host',
  '--constraint-add node.id==x --constraint-add a==b --constraint-rm node.role==worker',
  '--placement-pref-add spread=node.labels.dc --placement-pref-rm spread=node.labels.rack',
  '--host-add new:1.2.3.4 --host-rm database --host-rm cache:10.0.0.2',
  '--host-rm db:10.9.9.9',
  '--publish-add 9090:90 --publish-rm 80 --publish-rm published=5353,target=53,protocol=udp,mode=host',
  '--dns-add 1.1.1.1 --dns-rm 8.8.8.8 --dns-search-add a.b --dns-option-add x --dns-option-rm ndots:1',
  '--group-add a --group-rm wheel --sysctl-add a=b --sysctl-rm net.core.somaxconn',
  '--ulimit-add core=1 --ulimit-rm nofile',
  '--cap-add chown --cap-drop net_admin --cap-add sys_time',
  '--cap-add RESET --cap-drop ALL',
  '--limit-cpu 2 --reserve-memory 0 --limit-pids 5',
  '--restart-condition none --restart-max-attempts 4',
  '--update-parallelism 5 --update-delay 0s',
  '--rollback-order start-first',
  '--health-cmd "" --health-interval 5s',
  '--health-retries 9',
  '--no-healthcheck',
  '--log-driver syslog --log-opt q=r',
  '--endpoint-mode dnsrr --user u --workdir /x --hostname h --tty --read-only --init --stop-signal SIGTERM',
  '--stop-grace-period 1m --replicas-max-per-node 9 --entrypoint "a b"',
  '--rollback',
];

t.test('service create sends the spec that docker sends', { skip }, async (t) => {
  for (const line of CREATES) await both.compare(t, ['service', 'create', '--detach', ...wordsOf(line)]);
});

t.test('so they are of a later API', { skip }, async (t) => {
  both.apiVersion = '1.48';
  t.teardown(() => {
    both.apiVersion = '1.41';
  });
  for (const line of LATER_CREATES) await both.compare(t, ['service', 'create', '--detach', ...wordsOf(line)]);
  await both.compare(t, ['service', 'update', '-d', '--oom-score-adj', '7', 'web']);
  // Docker drops it from an update without a word.
  await both.swarmctl(['service', 'update', '-d', '--health-start-interval', '3s', 'web']);
  t.match(both.ours.requests.at(-1)?.body, {
    TaskTemplate: { ContainerSpec: { Healthcheck: { StartInterval: 3e9 } } },
  });
});

t.test('service update sends the spec that docker sends', { skip }, async (t) => {
  for (const line of REFERENCE_UPDATES)
    await both.compare(t, ['service', 'update', '-d', ...wordsOf(line), 'attached']);
  for (const line of UPDATES) await both.compare(t, ['service', 'update', '-d', ...wordsOf(line), 'web']);
});

t.test('node and swarm commands send what docker sends, and say what it says', { skip }, async (t) => {
  const lines = [
    'node promote host9 host10',
    'node demote host9 host10',
    'node promote nope host10',
    'node update host10',
    'node update --role manager --availability pause --label-add a=b --label-add c --label-rm disk host10',
    'node update --role manager --availability drain host9',
    'node update --label-add =x --label-add disk=hdd host10',
    'node update --label-rm nope host10',
    'node update nope',
    'node rm nope host10',
    'node rm --force host9',
    'swarm update --task-history-limit 3 --cert-expiry 2h30m --dispatcher-heartbeat 3s',
    'swarm update --task-history-limit -1',
    'swarm update --snapshot-interval 5 --max-snapshots 2',
    'swarm init --task-history-limit 3 --cert-expiry 2h --dispatcher-heartbeat 3s --availability drain',
    'swarm init --force-new-cluster --advertise-addr 10.0.0.1 --listen-addr 10.0.0.1',
    'swarm init --data-path-port 5000 --default-addr-pool 10.20.0.0/16 --default-addr-pool-mask-length 26',
    'swarm join --token x 1.2.3.4:2377',
    'swarm join-token --rotate manager',
    'swarm leave --force',
  ];
  for (const line of lines) {
    await both.compare(t, wordsOf(line), line.startsWith('swarm') ? { normalised: askedOf } : {});
  }
});

t.test('network commands send what docker sends, and say what it says', { skip }, async (t) => {
  const lines = [
    'network create own',
    'network create -d overlay --attachable --internal --label a=1 --label b -o com.docker.network.driver.mtu=1400 n',
    'network create -d overlay --subnet 172.28.1.0/24 --gateway 172.28.1.5 --ip-range 172.28.1.128/25 n',
    'network create -d overlay --ipv6 --subnet fd00:97:1::/64,172.28.2.0/24 --gateway fd00:97:1::9 n',
    'network create -d overlay --subnet 10.1.0.0/24 --aux-address a=10.1.0.5 --ipam-opt x=y --ingress --scope swarm n',
    'network create --subnet 10.1.0.0/24 --gateway 10.2.0.1 n',
    'network create --subnet 10.1.0.0/24 --ip-range 10.2.0.0/25 n',
    'network create --subnet 10.1.0.0/24 --subnet 10.1.0.128/25 n',
    'network create --subnet 10.1.0.0/24 --gateway 10.1.0.1 --gateway 10.1.0.2 n',
    'network create --gateway 10.1.0.1 n',
    'network create',
    'network ls',
    'network ls -q',
    'network ls --no-trunc',
    'network ls --filter driver=overlay --format raw',
    'network ls --format "{{.ID}} {{.Name}} {{.IPv4}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.CreatedAt}}"',
    'network inspect --format "{{.Name}} {{.Driver}} {{.Ingress}}" back nope',
    'network inspect --format "{{(index .IPAM.Config 0).Subnet}}" back',
    'network rm back',
    'network rm back nope',
    'network prune --force',
    'network prune',
  ];
  for (const line of lines) await both.compare(t, wordsOf(line), { normalised: (body) => askedOf(inOrder(body)) });
});

t.test('secrets and configs are made, listed, shown and removed as docker does it', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'swarmctl-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'data');
  await writeFile(file, Buffer.from([0, 0xff, 0x0a, 0xc3]));
  for (const kind of ['secret', 'config']) {
    const lines = [
      `create new ${file}`,
      `create -l a=1 --label b --label a=2 --template-driver golang new ${file}`,
      `create new ${folder}/nosuch`,
      `create new ${folder}`,
      'create new',
      `create new ${file} more`,
      `create --label =x new ${file}`,
      'create',
      'ls -q',
      'ls --filter name=k --filter label=a=1',
      'ls --format json',
      'ls --format {{.Name}}:{{.ID}}',
      'ls --format {{.Nope}}',
      'ls foo',
      'inspect key9 nope key10',
      'inspect --format {{.Spec.Name}}{{.Spec.Labels}} key10 tmpl',
      'inspect --format {{.Spec.Templating.Name}} tmpl',
      'inspect --pretty key9 tmpl',
      'inspect --pretty key10',
      'rm key9 nope tmpl',
      'rm',
      'foo',
    ];
    for (const line of lines)
      await both.compare(t, [kind, ...wordsOf(line)], { output: !/^ls --f.*(name|json)/.test(line) });
    const words = [kind, 'ls'];
    const [ours, other] = await Promise.all([both.swarmctl(words), both.docker(words)]);
    const withoutAges = (text: string) =>
      text.replaceAll(/ (?:Less|About|\d+ )[^\n]* ago */g, ' <ago>').replaceAll(/ {2,}/g, '  ');
    t.equal(withoutAges(ours.stdout), withoutAges(other.stdout));
  }
});

t.test('wrong flags and values are refused in the words of docker', { skip }, async (t) => {
  const lines = [
    'service create',
    'service create --foo x',
    'service create -z x',
    'service create --replicas -1 x',
    'service create --replicas 99999999999999999999 x',
    'service create --replicas',
    'service create -e',
    'service create --detach=maybe x',
    'service create --env =x y',
    'service create --label =x y',
    'service create --mount type=bind x',
    'service create --mount target=/x,foo x',
    'service create --mount target=/x,foo=bar x',
    'service create --mount type=bind,target=/x,readonly=maybe x',
    'service create --mount type=bind,target=/x,volume-nocopy x',
    'service create --mount type=tmpfs,target=/x,tmpfs-size=big x',
    'service create -p abc x',
    'service create -p 80:99999 x',
    'service create -p 80:80:80 x',
    'service create -p 1.2.3.256:80:80 x',
    'service create -p 80-82:80-81 x',
    'service create -p published=80 x',
    'service create -p published=80,target=x y',
    'service create -p mode=foo,target=80 x',
    'service create --limit-cpu abc x',
    'service create --limit-cpu 0.0000000001 x',
    'service create --limit-memory abc x',
    'service create --limit-memory 1z x',
    'service create --limit-memory 1kbb x',
    'service create --limit-pids x y',
    'service create --restart-delay abc x',
    'service create --restart-delay 5 x',
    'service create --restart-delay 5x y',
    'service create --health-interval -5s x',
    'service create --update-max-failure-ratio x y',
    'service create --placement-pref x y',
    'service create --placement-pref binpack=x y',
    'service create --ulimit foo=1 x',
    'service create --ulimit nofile x',
    'service create --ulimit nofile=3:2 x',
    'service create --ulimit nofile=1:2:3 x',
    'service create --dns foo x',
    'service create --dns-search _ x',
    'service create --host foo x',
    'service create --host foo:bar x',
    'service create --mode global --replicas 2 x',
    'service create --mode global --replicas-max-per-node 2 x',
    'service create --mode other x',
    'service create --no-healthcheck --health-cmd x y',
    'service create --env-file /nonexistent x',
    'service ls foo',
    'service ls --filter foo',
    'service ps',
    'service ps nope',
    'service ps -q web nope',
    'service rm nope web',
    'service inspect nope',
    'service inspect --format {{.ID}} web nope',
    'service inspect --format {{ web',
    'service inspect --format {{.Nope}} web',
    'service inspect --pretty --format x web',
    'service scale web',
    'service scale web=x',
    'service scale web=-1 nope=2',
    'service scale -d agent9=2',
    'service update',
    'service update nope',
    'service update -d --replicas 1 agent9',
    'service update --rollback --force web',
    'service rollback',
    'service rollback nope',
    'service foo',
    'node inspect nope',
    'node ps nope',
    'node update a b',
    'node update --label-add',
    'node promote',
    'node rm',
    'swarm foo',
    'swarm init foo',
    'swarm join',
    'swarm join-token foo',
    'swarm update foo',
    'swarm update --cert-expiry x',
    'swarm update --dispatcher-heartbeat 5',
    'swarm update --max-snapshots -1',
    'swarm update --task-history-limit 99999999999999999999',
    'foo',
  ];
  for (const line of lines) await both.compare(t, wordsOf(line));
});
