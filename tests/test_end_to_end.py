"""The labs on the embedded reference network, as a user runs them: real kernel, real packets.

One whole run serves most of this file; the others are cut short, or run as another user.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.residue import Snapshot
from pytest_k8snet.embedded import kernel

ROOT = Path(__file__).parent.parent
PATIENCE = 15.0  #: seconds that the launcher may take to clean up after a kill, on a busy machine

pytestmark = pytest.mark.skipif(
    bool(kernel.missing(kernel.choose("auto")[0])), reason="; ".join(kernel.missing(kernel.choose("auto")[0]))
)


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    bundle: Path
    junit: Path
    left_behind: str


def start(folder: Path, *extra: str, temporary: str | None = None) -> subprocess.Popen[str]:
    """``pytest --k8snet`` in ``folder``, away from this session's plugins' environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    if temporary is not None:
        environment["TMPDIR"] = temporary
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "--k8snet", *extra],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def settled(before: Snapshot) -> str:
    """What is left behind once the launcher has had its time."""
    deadline = time.monotonic() + PATIENCE
    while (left := before.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture(scope="module")
def temporary() -> Iterator[str]:
    """A TMPDIR for this file's runs alone (a short path: a Unix socket's name has room for 107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="runs-") as folder:
        yield folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, temporary: str) -> Finished:
    """One whole, healthy run with everything kept."""
    folder = tmp_path_factory.mktemp("run")
    before = Snapshot.take(temporary)
    process = start(folder, "-v", "--k8snet-bundle", "kept", "--junitxml", "junit.xml", temporary=temporary)
    out, _ = process.communicate(timeout=300)
    return Finished(process.returncode, out, folder / "kept", folder / "junit.xml", before.left_behind())


def tcpdump(finished: Finished, lab: str, point: str) -> str:
    """What tcpdump itself says of a kept capture."""
    (capture,) = (finished.bundle / "labs" / lab).glob(f"*-{point}.pcap")
    command = [kernel.program("tcpdump") or "tcpdump", "-nn", "-r", str(capture)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_claim_is_held_and_none_skipped(finished: Finished) -> None:
    assert finished.status == 0, finished.out
    assert finished.out.count(" HELD ") == 34
    assert "skipped" not in finished.out


def test_the_header_names_provider_and_kernel_and_the_last_line_the_verdicts_reach(
    finished: Finished,
) -> None:
    assert re.search(r"^k8snet: provider embedded", finished.out, re.M)
    assert re.search(
        r"^k8snet: reference network in (User-Mode Linux|namespaces of the host)", finished.out, re.M
    )
    last = finished.out.rstrip().splitlines()[-1]
    assert last == "k8snet: this is a verdict on the embedded reference network, not on a cluster."


def test_nothing_is_left_behind(finished: Finished) -> None:
    assert finished.left_behind == ""


@pytest.mark.parametrize("point", ["source-uplink", "target-uplink"])
def test_tcpdump_sees_ipip_between_the_nodes(finished: Finished, point: str) -> None:
    text = tcpdump(finished, "pod-network", point)
    assert re.search(
        r"IP 192\.168\.219\.23 > 192\.168\.219\.22: IP 20\.109\.131\.5\.\d+ > 20\.111\.156\.72\.8080: "
        r"Flags \[P\.\].*HTTP: GET /hostname HTTP/1\.1",
        text,
    )
    assert not re.search(r"^\S+ IP 20\.", text, re.M)


@pytest.mark.parametrize("point", ["source-veth", "target-veth"])
def test_tcpdump_sees_plain_http_on_both_veths(finished: Finished, point: str) -> None:
    text = tcpdump(finished, "pod-network", point)
    assert re.search(
        r"^\S+ IP 20\.109\.131\.5\.\d+ > 20\.111\.156\.72\.8080: .*HTTP: GET /hostname", text, re.M
    )
    assert "192.168.219." not in text


def test_tcpdump_sees_the_service_address_on_the_source_veth_only(finished: Finished) -> None:
    assert "> 10.107.94.97.8080" in tcpdump(finished, "clusterip", "source-veth")
    assert "10.107.94.97" not in tcpdump(finished, "clusterip", "source-uplink")


def test_tcpdump_sees_the_node_port_and_its_translation_on_one_uplink(finished: Finished) -> None:
    text = tcpdump(finished, "nodeport", "entry-uplink")
    assert re.search(r"IP 192\.168\.219\.21\.\d+ > 192\.168\.219\.23\.31080: Flags \[P\.\]", text)
    assert re.search(
        r"192\.168\.219\.23 > 192\.168\.219\.22: IP 20\.109\.131\.0\.\d+ > 20\.111\.156\.72\.8080", text
    )


def test_the_kernels_own_tunnel_has_the_documents_mtu(finished: Finished) -> None:
    for line in (finished.bundle / "labs" / "pod-network" / "commands.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("argv") == ["ip", "-j", "-d", "addr", "show"]:
            tunnel = next(link for link in json.loads(record["stdout"]) if link.get("ifname") == "tunl0")
            assert (tunnel["mtu"], tunnel["linkinfo"]["info_kind"]) == (1480, "ipip")
            return
    pytest.fail("the bundle holds no listing of a node's interfaces")


def test_junit_names_claims_and_verdicts(finished: Finished) -> None:
    cases = list(ElementTree.parse(finished.junit).iter("testcase"))
    verdicts = {
        found["k8snet_claim"]: found["k8snet_verdict"]
        for case in cases
        for found in [{p.get("name", ""): p.get("value", "") for p in case.iter("property")}]
    }
    assert len(verdicts) == 34
    assert set(verdicts.values()) == {"held"}
    assert "pod-network/encapsulated-on-source-uplink" in verdicts


def test_the_kept_run_is_judged_again_without_a_kernel(finished: Finished, tmp_path: Path) -> None:
    process = start(tmp_path, "--k8snet-provider=replay", "--k8snet-replay", str(finished.bundle), "-v")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert out.count(" HELD ") == 34
    assert "recorded" in out.rstrip().splitlines()[-1]


def test_a_healthy_network_at_other_addresses_means_the_same(finished: Finished, tmp_path: Path) -> None:
    process = start(
        tmp_path,
        "--k8snet-pod-cidr=10.244.0.0/16",
        "--k8snet-service-cidr=10.32.0.0/16",
        "--k8snet-role=node1=beta",
        f"--k8snet-baseline={finished.bundle}",
    )
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "35 passed" in out
    assert re.search(r"^since kept \(embedded, rec.*\): no difference, \d{3} facts the same$", out, re.M)


@pytest.fixture
def running(tmp_path: Path, temporary: str) -> Iterator[tuple[subprocess.Popen[str], Snapshot]]:
    """A run under way, its kernel up and its first claim judged, and the machine as it was before."""
    before = Snapshot.take(temporary)
    process = start(tmp_path, "-v", temporary=temporary)
    assert process.stdout is not None
    for line in process.stdout:
        if "test_one_sandbox" in line:
            break
    assert "folder k8snet-" in before.left_behind(), "no kernel of ours runs: the checks would prove nothing"
    yield process, before
    process.kill()
    process.wait()
    process.stdout.close()


def test_ctrl_c_cleans_up(running: tuple[subprocess.Popen[str], Snapshot]) -> None:
    process, before = running
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    assert settled(before) == ""


def test_a_kill_leaves_nothing_either(running: tuple[subprocess.Popen[str], Snapshot]) -> None:
    process, before = running
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert settled(before) == ""


def test_an_ordinary_user_gets_the_same_verdict(tmp_path: Path) -> None:
    """User-Mode Linux needs no root. The interpreter and this checkout must be readable for the user."""
    if os.getuid() != 0:
        pytest.skip("this run is an ordinary user's already")
    if kernel.missing("uml"):
        pytest.skip("; ".join(kernel.missing("uml")))
    nobody = pwd.getpwnam("nobody")
    python = next((path for path in (sys.executable, "/usr/bin/python3") if usable_by_nobody(path)), None)
    if python is None:
        pytest.skip("no Python that user nobody may run can import this checkout")
    folder = Path("/var/tmp") / f"k8snet-nobody-{os.getpid()}"
    folder.mkdir()
    try:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        result = subprocess.run(
            [
                *as_nobody(python),
                "-m",
                "pytest",
                "--k8snet",
                "--k8snet-kernel=uml",
                "-q",
                "-p",
                "no:cacheprovider",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "34 passed" in result.stdout
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def as_nobody(python: str) -> list[str]:
    packages = sysconfig.get_path("purelib")
    environment = [f"PYTHONPATH={ROOT}:{packages}", f"PATH={os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE=1"]
    return [
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
        "env",
        "-i",
        *environment,
        python,
    ]


def usable_by_nobody(python: str) -> bool:
    command = [*as_nobody(python), "-c", "import pytest_k8snet.evidence.packets, pyroute2"]
    return subprocess.run(command, capture_output=True, cwd="/", check=False).returncode == 0
