"""Faults of the observer: a tool that is missing, lies or hangs, a node that goes, a clock that jumps.

They leave the network as it is. No claim may break for them: what they hide is inconclusive.
"""

from __future__ import annotations

from pytest_k8snet.embedded.faults.changes import Ends, Fault, Tool
from pytest_k8snet.embedded.faults.places import NODE1, NODE2

#: The node's own program, in a script that stands in for it.
#: SIGUSR1, by which a capture is asked how far it is, is for tcpdump alone.
_OWN = "PATH=${PATH#*:}; trap '' USR1; "
_RUBBISH = "echo 'lorem ipsum dolor sit amet'"

#: tcpdump's output on eth1, every packet from the third on stamped an hour earlier. In perl, which is
#: essential in Debian and starts at once; Python takes half a second.
_BACK_IN_TIME = r"""#!/usr/bin/perl
use strict;
my $on_uplink = grep { $_ eq "eth1" } @ARGV;
$ENV{PATH} =~ s/^[^:]*://;
open(my $capture, "-|", "tcpdump", @ARGV) or die "tcpdump: $!";
$SIG{INT} = $SIG{USR1} = "IGNORE";
binmode $_ for $capture, *STDOUT;
$| = 1;
read $capture, my $head, 24;
print $head;
for (my $number = 1; read($capture, my $header, 16) == 16; $number++) {
  my ($seconds, $fraction, $length, $size) = unpack "V4", $header;
  $seconds -= 3600 if $on_uplink and $number > 2;
  read $capture, my $packet, $length;
  print pack("V4", $seconds, $fraction, $length, $size), $packet;
}
"""
#: A kernel without CONFIG_NF_CONNTRACK_PROCFS, as most are: nothing to fall back to.
_NO_PROCFS = f"""{_OWN}
[ "$1" != /proc/net/nf_conntrack ] && exec cat "$@"
echo "cat: $1: No such file or directory" >&2
exit 1
"""
_REFUSES = """
echo "tcpdump: eth1: You don't have permission to perform this capture on that device" >&2
exit 1
"""
_CUTS = f"""{_OWN} trap : INT
tcpdump "$@" | (trap '' INT; head -c 300; cat >/dev/null)
"""
_DROPS = f"""{_OWN} trap : INT
{{ tcpdump "$@" 2>&1 >&3 | (trap '' INT; sed -u 's/^0 packets dropped/7 packets dropped/' >&2); }} 3>&1
"""

FAULTS = (
    Fault("tcpdump-missing", "tcpdump is not installed on node2", (Tool(NODE2, "tcpdump"),)),
    Fault("tcpdump-refused", "tcpdump on node1 may not capture", (Tool(NODE1, "tcpdump", _REFUSES),)),
    Fault(
        "tcpdump-never-listens",
        "tcpdump on node1 never says that it listens",
        (Tool(NODE1, "tcpdump", "exec sleep 60"),),
    ),
    Fault(
        "capture-cut",
        "the captures of node1 end in the middle of a packet",
        (Tool(NODE1, "tcpdump", _CUTS),),
    ),
    Fault(
        "capture-drops",
        "the kernel dropped packets of node2's captures",
        (Tool(NODE2, "tcpdump", _DROPS),),
    ),
    Fault(
        "clock-jumps",
        "node2's clock is set back in the middle of a capture",
        (Tool(NODE2, "tcpdump", _BACK_IN_TIME),),
    ),
    Fault(
        "conntrack-missing",
        "conntrack is not installed on node2, and its kernel has no /proc/net/nf_conntrack",
        (Tool(NODE2, "conntrack"), Tool(NODE2, "cat", _NO_PROCFS)),
    ),
    Fault(
        "conntrack-rubbish",
        "conntrack on node2 answers rubbish, and its kernel has no /proc/net/nf_conntrack",
        (Tool(NODE2, "conntrack", _RUBBISH), Tool(NODE2, "cat", _NO_PROCFS)),
    ),
    Fault(
        "iptables-missing",
        "iptables-save is not installed on node2",
        tuple(Tool(NODE2, f"iptables-{which}save") for which in ("", "legacy-", "nft-")),
    ),
    Fault(
        "iptables-rubbish",
        "iptables-save on node2 answers rubbish",
        tuple(Tool(NODE2, f"iptables-{which}save", _RUBBISH) for which in ("", "legacy-", "nft-")),
    ),
    Fault(
        "probe-hangs",
        "ss on node1 never ends, and netstat is not installed",
        (Tool(NODE1, "ss", "exec sleep 60"), Tool(NODE1, "netstat")),
    ),
    Fault("node-gone", "node1 goes down between two probes", (Ends(NODE1, NODE1, "ss"),)),
    Fault(
        "agent-dies",
        "the agent dies, and the kernel with it, before a capture",
        (Ends("", NODE2, "tcpdump"),),
    ),
)
