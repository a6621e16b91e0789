# Speaks just enough SCTP for one question and one answer, where the kernel has no sockets of it.
#
#   perl sctp.pl serve PORT            answers each INIT to PORT, and says on a line from where it came
#   perl sctp.pl ask ADDRESS PORT      sends an INIT until it is answered, and says on a line from where and which port
use strict;
use warnings;
use Socket;

use constant { SCTP => 132, INIT => 1, INIT_ACK => 2, TAG => 0x1234, CLIENT_PORT => 40_000 + $$ % 20_000 };

# CRC32c (RFC 9260, appendix A), bit by bit.
sub checksum {
    my $sum = 0xffffffff;
    for my $byte (unpack 'C*', $_[0]) {
        $sum ^= $byte;
        $sum = $sum & 1 ? ($sum >> 1) ^ 0x82f63b78 : $sum >> 1 for 1 .. 8;
    }
    return $sum ^ 0xffffffff;
}

sub packet {
    my ($from, $to, $tag, $type) = @_;
    my $chunk = pack 'CCnNNnnN', $type, 0, 20, TAG, 65_536, 1, 1, 1;
    my $head = pack 'nnN', $from, $to, $tag;
    return $head . pack('V', checksum("$head\0\0\0\0$chunk")) . $chunk;
}

# The sender's address, both ports, and the type of the first chunk.
sub next_packet {
    my ($socket) = @_;
    my $sender = recv $socket, my $bytes, 1500, 0;
    die "recv: $!\n" unless defined $sender;
    my $start = (ord($bytes) & 15) * 4;
    my ($from, $to) = unpack 'nn', substr $bytes, $start;
    return (inet_ntoa((sockaddr_in($sender))[1]), $from, $to, ord substr($bytes, $start + 12, 1), $sender);
}

$| = 1;
my ($what, @rest) = @ARGV;
socket my $socket, PF_INET, SOCK_RAW, SCTP or die "socket: $!\n";
if ($what eq 'serve') {
    print "ready\n";
    while (my ($address, $from, $to, $type, $sender) = next_packet($socket)) {
        next unless $to == $rest[0] && $type == INIT;
        print "$address\n";
        send $socket, packet($to, $from, TAG, INIT_ACK), 0, $sender or die "send: $!\n";
    }
}
alarm 20;
my ($address, $port) = @rest;
my $there = sockaddr_in(0, inet_aton($address));
while (1) {
    send $socket, packet(CLIENT_PORT, $port, 0, INIT), 0, $there or die "send: $!\n";
    my $ready = '';
    vec($ready, fileno $socket, 1) = 1;
    while (select(my $readable = $ready, undef, undef, 0.5)) {
        my ($sender, $from, $to, $type) = next_packet($socket);
        next unless $to == CLIENT_PORT && $type == INIT_ACK;
        print "$sender $from\n";
        exit 0;
    }
}
