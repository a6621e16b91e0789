import { spawnSync } from 'node:child_process';
import { Netlink, NetworkWatch } from '@apiary/agent-native';
import t from 'tap';
import { endIpv6Forwarding, ensureIpv6Forwarding, forwardsForTasksAlone, ipv6Gap } from './ipv6-forwarding.js';
import { inOwnNetwork, sh } from './own-network.fixture.js';

/** This file runs in a network namespace of its own, which is the host. */
const skip = inOwnNetwork(import.meta.url);

/** A router's word (RFC 4861, 4.2) by the link `router`: that it is one, and a prefix for everybody's addresses. */
const ADVERTISE = `
  use Socket;
  socket(my $s, 10, 3, 58) or die $!;
  setsockopt($s, 41, 18, pack("i", 255)) or die $!;
  my $index = $ARGV[1];
  my $prefix = pack("CCCCNNNnnnnnnnn", 3, 4, 64, 0xc0, 3600, 3600, 0, 0x2001, 0xdb8, $ARGV[0], 0, 0, 0, 0, 0);
  my $said = pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0) . $prefix;
  my $all = pack("S n N n8 L", 10, 0, 0, 0xff02, 0, 0, 0, 0, 0, 0, 1, $index);
  send($s, $said, 0, $all) or die $!;`;

t.test('a host that forwards for its tasks hears from its routers as before', { skip }, async (t) => {
  sh(`ip link add uplink type veth peer name router; ip link set lo up
    sysctl -qw net.ipv6.conf.router.accept_ra=0 net.ipv6.conf.router.dad_transmits=0 net.ipv6.conf.uplink.dad_transmits=0
    ip link set uplink up; ip link set router up`);
  const netlink = await Netlink.open();
  t.teardown(() => netlink.close());
  let wake = () => {};
  const watch = await NetworkWatch.open({
    subjects: ['addresses', 'routes'],
    listener: () => wake(),
    onFailure: (error) => t.fail(error.message),
  });
  t.teardown(() => watch.close());
  const until = async (isSo: () => string): Promise<string> => {
    for (let found = isSo(); ; found = isSo()) {
      if (found !== '') return found;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  const router = `${(await netlink.link('router'))?.index}`;
  const advertise = (subnet: number) =>
    spawnSync('perl', ['-e', ADVERTISE, `${subnet}`, router], { stdio: ['ignore', 'inherit', 'inherit'] });
  const way = () => sh('ip -6 route show default dev uplink');
  const address = (subnet: number) => () => sh(`ip -6 -o addr show dev uplink to 2001:db8:${subnet}::/64`);
  await until(() => sh('ip -6 -o addr show dev router scope link -tentative'));
  advertise(1);
  await until(address(1));
  const before = await until(way);
  const settings = () => sh('sysctl net.ipv6.conf.uplink net.ipv6.conf.default | grep -v stable_secret');
  const found = settings();

  t.equal(await ipv6Gap(), undefined);
  t.equal(await ensureIpv6Forwarding(), true);
  t.equal(await forwardsForTasksAlone(), true);
  t.equal(way().replace(/ expires.*/, ''), before.replace(/ expires.*/, ''), 'it keeps its way');
  t.equal(settings(), found, 'and its links are as they were');
  advertise(2);
  t.ok(await until(address(2)), 'and it hears of another prefix');
  t.equal(await ensureIpv6Forwarding(), false);

  await endIpv6Forwarding();
  t.equal(sh('sysctl -n net.ipv6.conf.all.forwarding'), '0');
  t.ok(way());
  sh('sysctl -qw net.ipv6.conf.all.forwarding=1');
  t.equal(await forwardsForTasksAlone(), false, 'somebody else’s doing');
  await endIpv6Forwarding();
  t.equal(sh('sysctl -n net.ipv6.conf.all.forwarding'), '1', 'stays');
  sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1');
  t.match(await ipv6Gap(), /disable_ipv6 is set/);
});
