#!/usr/bin/perl
# Carries Ethernet frames between two interfaces, each way with a fixed delay and random loss.
#
#   link-relay.pl INTERFACE INTERFACE DELAY_MS LOSS_PERCENT      prints "ready" once frames flow
#
# It stands in for the netem queueing discipline, which many kernels are built without. Perl, because perl-base is on
# every Debian and Node has no packet sockets. Frames travel with their virtio header (PACKET_VNET_HDR), so that
# segmentation and checksums left to the interface stay left to it: TCP runs at full size.
use strict;
use warnings;
use POSIX ();

use constant {
    AF_PACKET              => 17,
    SOCK_RAW               => 3,
    ETH_P_ALL              => 3,
    SOL_SOCKET             => 1,
    SO_SNDBUFFORCE         => 32,
    SO_RCVBUFFORCE         => 33,
    SOL_PACKET             => 263,
    PACKET_VNET_HDR        => 15,
    PACKET_IGNORE_OUTGOING => 23,
    SIOCGIFINDEX           => 0x8933,
    MSG_DONTWAIT           => 0x40,
    CLOCK_MONOTONIC        => 1,
    BUFFER_BYTES           => 8 << 20,
    FRAME_BYTES            => 80_000,
    BURST                  => 64,
};

# perl-base has no Time::HiRes, so the clock is read by its system call.
my %clock_gettime = (x86_64 => 228, aarch64 => 113);

my ($left, $right, $delay_ms, $loss_percent) = @ARGV;
defined $loss_percent or die "usage: link-relay.pl INTERFACE INTERFACE DELAY_MS LOSS_PERCENT\n";
my $clock_call = $clock_gettime{ (POSIX::uname())[4] } or die "link-relay.pl: unknown architecture\n";
my $delay = $delay_ms / 1000;

sub now {
    my $time = pack 'q q', 0, 0;
    syscall($clock_call, CLOCK_MONOTONIC, $time) == 0 or die "clock_gettime: $!\n";
    my ($seconds, $nanoseconds) = unpack 'q q', $time;
    return $seconds + $nanoseconds / 1e9;
}

sub open_interface {
    my ($name) = @_;
    # Protocol 0 until it is bound: otherwise it would receive from every interface in between.
    socket(my $socket, AF_PACKET, SOCK_RAW, 0) or die "socket: $!\n";
    my $request = pack 'a16 x24', $name;
    ioctl($socket, SIOCGIFINDEX, $request) or die "interface $name: $!\n";
    my $index = unpack 'x16 i', $request;
    setsockopt($socket, SOL_PACKET, PACKET_VNET_HDR, pack 'i', 1) or die "PACKET_VNET_HDR: $!\n";
    setsockopt($socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, pack 'i', 1) or die "PACKET_IGNORE_OUTGOING: $!\n";
    setsockopt($socket, SOL_SOCKET, $_, pack 'i', BUFFER_BYTES) for SO_RCVBUFFORCE, SO_SNDBUFFORCE;
    bind($socket, pack 'S n i S C C a8', AF_PACKET, ETH_P_ALL, $index, 0, 0, 0, '') or die "bind $name: $!\n";
    return $socket;
}

my @sockets = (open_interface($left), open_interface($right));
my @queues  = ([], []);    # frames that came in on sockets[i], as [due, frame]; one delay for all keeps them in order

$| = 1;
print "ready\n";

while (1) {
    my $due = (sort { $a <=> $b } map { @$_ ? $_->[0][0] : () } @queues)[0];
    my $wait = defined $due ? $due - now() : undef;
    $wait = 0 if defined $wait && $wait < 0;
    my $readable = '';
    vec($readable, fileno $_, 1) = 1 for @sockets;
    select $readable, undef, undef, $wait;
    my $time = now();
    for my $i (0, 1) {
        next unless vec $readable, fileno $sockets[$i], 1;
        for (1 .. BURST) {
            my $frame = '';
            last unless defined recv $sockets[$i], $frame, FRAME_BYTES, MSG_DONTWAIT;
            push @{ $queues[$i] }, [$time + $delay, $frame] if rand(100) >= $loss_percent;
        }
    }
    for my $i (0, 1) {
        my $queue = $queues[$i];
        while (@$queue && $queue->[0][0] <= $time) {
            # A frame that the other side has no room for is lost, as on a real link.
            send $sockets[1 - $i], shift(@$queue)->[1], 0;
        }
    }
}
