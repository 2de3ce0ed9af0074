#!/usr/bin/perl
# An SMSC for the tests, on Net::SMPP. It prints the port that it listens on,
# and afterwards a line of JSON for everything that a client sends. From its
# standard input it reads how to behave, one mode a line, and confirms each:
#
#   accept            take every message; the same as after "throttle" and "refuse"
#   throttle N        answer the next N messages with ESME_RTHROTTLED
#   refuse NUMBER     answer messages to NUMBER with ESME_RINVDSTADR
#   password WORD     refuse a bind with another password: ESME_RINVPASWD
#   slow N            keep back N answers, then give them in reverse order
#   drop              end the connection at the next message, without an answer
#   receipt           send a delivery receipt after each message that was taken
#   garbage           send what is no PDU instead of the next answer
#   enquire | unbind  send enquire_link or unbind, now
use strict;
use warnings;
use Encode ();
use Encode::GSM0338;
use IO::Select;
use JSON::PP ();
use Net::SMPP;

$| = 1;
my $json = JSON::PP->new->canonical->utf8;
sub tell_all { print $json->encode({@_}), "\n" }

my $listener = Net::SMPP->new_listen('127.0.0.1', port => 0, smpp_version => 0x34, timeout => undef)
    or die "cannot listen: $@";
print $listener->sockport, "\n";

my ($throttle, $refuse, $password, $slow, $drop, $receipt, $garbage) = (0, '', '', 0, 0, 0, 0);
my ($count, @kept, %bound) = (0);
my $select = IO::Select->new($listener, \*STDIN);

sub hex_of { unpack 'H*', $_[0] // '' }

sub bye {
    my $c = shift;
    $select->remove($c);
    delete $bound{$c};
    close $c;
}

# The text as a handset shows it, in which Net::SMPP has no part.
sub shown {
    my $pdu = shift;
    my $octets = $pdu->{short_message};
    $octets = substr $octets, 1 + ord $octets if $pdu->{esm_class} & 0x40;
    return Encode::decode($pdu->{data_coding} == 8 ? 'UTF-16BE' : 'gsm0338', $octets, Encode::FB_CROAK);
}

sub submit {
    my ($c, $pdu) = @_;
    tell_all(command => 'submit_sm', text => shown($pdu), udh => $pdu->{esm_class} & 0x40 ? hex_of(substr $pdu->{short_message}, 0, 6) : '',
        map { $_ => "$pdu->{$_}" } qw(service_type source_addr_ton source_addr_npi source_addr dest_addr_ton dest_addr_npi
            destination_addr esm_class protocol_id priority_flag schedule_delivery_time validity_period registered_delivery
            replace_if_present_flag data_coding sm_default_msg_id));
    if ($drop) { $drop = 0; return bye($c) }
    if ($garbage) { $garbage = 0; $c->syswrite("\x00\x00\x00\x07garbage"); return }
    my ($status, $id) = (0, sprintf '%08x', ++$count);
    if ($throttle > 0) { $throttle--; $status = 0x58 }
    elsif ($refuse eq $pdu->{destination_addr}) { $status = 0x0b }
    my $answer = sub {
        $c->submit_sm_resp(seq => $pdu->{seq}, status => $status, message_id => $status ? '' : $id);
        return if $status || !$receipt;
        $c->deliver_sm(async => 1, source_addr_ton => 1, source_addr_npi => 1, source_addr => $pdu->{destination_addr},
            dest_addr_ton => $pdu->{source_addr_ton}, dest_addr_npi => $pdu->{source_addr_npi}, destination_addr => $pdu->{source_addr},
            esm_class => 4, short_message => "id:$id sub:001 dlvrd:001 submit date:2603140926 done date:2603140927 stat:DELIVRD err:000 text:"
                . substr($pdu->{short_message}, 0, 20), receipted_message_id => "$id\0", message_state => pack 'C', 2);
    };
    if ($slow > 0) {
        push @kept, $answer;
        return if @kept < $slow;
        $_->() for reverse @kept;
        ($slow, @kept) = (0);
        return;
    }
    $answer->();
}

sub serve {
    my $c = shift;
    my $pdu = $c->read_pdu;
    return bye($c) unless $pdu;
    my $name = Net::SMPP::pdu_tab->{$pdu->{cmd}}{cmd} // sprintf 'command 0x%08X', $pdu->{cmd};
    return submit($c, $pdu) if $name eq 'submit_sm';
    if ($name eq 'bind_transceiver') {
        tell_all(command => $name, map { $_ => "$pdu->{$_}" } qw(system_id system_type interface_version addr_ton addr_npi address_range));
        my $status = $password ne '' && $password ne $pdu->{password} ? 0x0e : 0;
        $bound{$c} = $c unless $status;
        $c->bind_transceiver_resp(seq => $pdu->{seq}, status => $status, system_id => 'smsc.pl', sc_interface_version => pack 'C', 0x34);
        return;
    }
    tell_all(command => $name, status => sprintf('0x%02X', $pdu->{status}), message_id => $pdu->{message_id} // '');
    $c->enquire_link_resp(seq => $pdu->{seq}) if $name eq 'enquire_link';
    if ($name eq 'unbind') { $c->unbind_resp(seq => $pdu->{seq}); bye($c) }
}

# One octet at a time: a buffer would hide lines from select.
my $line = '';
sub obey {
    sysread STDIN, my $octet, 1 or exit 0;
    if ($octet ne "\n") { $line .= $octet; return }
    my ($mode, $word) = split / /, $line;
    $line = '';
    if ($mode eq 'accept') { ($throttle, $refuse) = (0, '') }
    elsif ($mode eq 'throttle') { $throttle = $word }
    elsif ($mode eq 'refuse') { $refuse = $word }
    elsif ($mode eq 'password') { $password = $word }
    elsif ($mode eq 'slow') { $slow = $word }
    elsif ($mode eq 'drop') { $drop = 1 }
    elsif ($mode eq 'receipt') { $receipt = 1 }
    elsif ($mode eq 'garbage') { $garbage = 1 }
    elsif ($mode eq 'enquire') { $_->enquire_link(async => 1) for values %bound }
    elsif ($mode eq 'unbind') { $_->unbind(async => 1) for values %bound }
    else { die "no such mode: $mode" }
    tell_all(command => 'mode', mode => $mode);
}

while (1) {
    for my $ready ($select->can_read) {
        if ($ready == $listener) { $select->add($listener->accept // next) }
        elsif ($ready == \*STDIN) { obey() }
        elsif ($select->exists($ready)) { serve($ready) }
    }
}
