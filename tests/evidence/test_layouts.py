"""scapy is asked where fields stand, and for nothing else: each test looks at a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

READ_ALL = """
from pytest_k8snet.evidence.layouts import layout, tcp_flags
assert layout("l2", "Ether", "type").size == 14
assert layout("inet", "IP", "dst").read(bytes([0x45, *range(19)]))["ttl"] == 7
assert layout("inet6", "IPv6", "dst").size == 40
assert tcp_flags(0x12) == "SA"
from scapy.config import conf
"""


def python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


@pytest.mark.parametrize("load", [READ_ALL, "import scapy.layers.inet6"])
def test_the_host_is_not_asked_for_its_interfaces(load: str) -> None:
    """The second one is the broken twin: scapy imported plainly opens netlink sockets."""
    watched = (
        "import sys\nasked = []\n"
        "sys.addaudithook(lambda event, _: asked.append(event) if event.startswith(('socket.', 'subprocess.'"
        ", 'os.system', 'os.posix_spawn', 'os.exec', 'os.fork')) else None)\n"
        f"{load}\nprint(bool(asked))"
    )
    assert python(watched) == str(load != READ_ALL)


def test_scapy_can_ask_for_them_later() -> None:
    assert (
        python(
            READ_ALL + "assert conf.route_autoload and conf.route6_autoload\nassert not conf.ifaces\n"
            "conf.ifaces.reload()\nprint('lo' in conf.ifaces)"
        )
        == "True"
    )


def test_what_scapy_knows_already_it_keeps() -> None:
    code = "from scapy.all import conf\nbefore = set(conf.ifaces), list(conf.route.routes), conf.iface\n"
    after = "assert (set(conf.ifaces), list(conf.route.routes), conf.iface) == before\nprint(len(before[0]))"
    assert int(python(code + READ_ALL + after)) > 0


def test_a_field_that_scapy_does_not_have() -> None:
    code = "import pytest\nfrom pytest_k8snet.evidence.layouts import layout, layout_names\n"
    for call in ("layout('inet', 'IP', 'colour')", "layout_names('inet', 'TCP', 'colour')"):
        code += f"with pytest.raises(LookupError, match='no field colour'): {call}\n"
    python(code)
