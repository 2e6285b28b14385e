"""Nodes by ssh, against a real sshd on loopback and against what breaks on the way to one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_k8snet.clusters.base import ClusterError, NodeUnreachable
from pytest_k8snet.clusters.ways import local, ssh
from pytest_k8snet.clusters.ways.remote import run, spawn
from pytest_k8snet.clusters.ways.ssh import SshAccess
from tests.clusters.test_local import gone
from tests.clusters.test_remote import CAPTURE, fails

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
NODE = "k8s-node1.invalid"  # never resolves (RFC 6761)


class Sshd:
    """``config`` is a user's ssh_config(5) that leads to it; more lines may be added to either side's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "ssh_config"
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        server = folder / "sshd_config"
        server.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPermitRootLogin yes\n"
            f"SetEnv PATH={folder}:{os.environ['PATH']}\nPrintMotd no\nBanner {folder}/banner\n"
        )
        (folder / "banner").write_text("You are being watched.\n")
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        self.config.write_text(
            f"Host *\n  Port {self.port}\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {folder}/known\n  StrictHostKeyChecking yes\n  ControlMaster auto\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # "Missing privilege separation directory"
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert sshd
        settings = subprocess.run([sshd, "-T", "-f", server], capture_output=True, check=True).stdout
        if b"\npersourcepenalties " in settings:  # OpenSSH 9.8: would refuse us after what the tests do
            server.write_text(server.read_text() + "PerSourcePenalties no\n")
        self.process = subprocess.Popen([sshd, "-D", "-e", "-f", server], stderr=subprocess.PIPE)
        assert self.process.stderr
        while b"listening" not in (line := self.process.stderr.readline()):
            assert line, "sshd ended"

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("not installed: sshd (openssh-server)")
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sockets and logs go to a folder of the tests' own, which is empty at their end."""
    tmp_path_factory.getbasetemp()  # where it always is
    folder = tempfile.mkdtemp(prefix="k8snet-")  # short, as pytest's are not: a socket lies in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", folder)
        yield
    os.rmdir(folder)


@pytest.fixture(scope="module")
def node(sshd: Sshd) -> Iterator[SshAccess]:
    access = SshAccess(NODE, "127.0.0.1", boot_id=BOOT, config=sshd.config)
    yield access
    access.close()
    access.close()


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_command(node: SshAccess) -> None:
    argv = ["sh", "-c", 'cat; printf "\\000%s" "$1"; echo err >&2; exit 3', "sh", "it's $HOME;*"]
    result = run(node, argv, timeout=20, stdin=b"\xff\r\n")
    assert (result.exit_status, result.stdout, result.stderr) == (3, b"\xff\r\n\0it's $HOME;*", b"err\n")
    assert result.argv == tuple(argv)


@pytest.mark.parametrize("status", [127, 255])
def test_a_status_is_the_command_s(node: SshAccess, status: int) -> None:
    result = run(node, ["sh", "-c", f"echo err >&2; exit {status}"], timeout=20)
    assert (result.exit_status, result.stderr) == (status, b"err\n")


def test_a_capture(node: SshAccess) -> None:
    running = spawn(node, [sys.executable, "-I", "-S", "-c", CAPTURE])
    running.wait_for(b"listening on", 20)
    running.catch_up(lambda report: report == b"2 packets captured", 20)
    result = running.stop()
    assert (result.exit_status, result.stdout) == (0, b"\xd4\xc3\xb2\xa1")
    assert result.stderr.endswith(b"2 packets captured\n0 packets dropped by kernel\n")


def test_one_killed_by_a_signal(node: SshAccess) -> None:
    running = spawn(node, ["sh", "-c", "echo $$ >&2; exec sleep 60"])
    running.wait_for(b"\n", 20)
    pid = int(running.stderr.split()[0])
    assert running.kill()
    assert running.result().exit_status == 137
    running.release()
    assert gone(pid)


def test_all_commands_share_a_connection(node: SshAccess, sshd: Sshd) -> None:
    ports = {run(node, ["sh", "-c", "echo $SSH_CLIENT"], timeout=20).stdout for _ in range(2)}
    assert len(ports) == 1


def test_where_a_socket_has_no_room_each_has_its_own(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_SOCKET_LENGTH", 0)
    node = SshAccess(NODE, "127.0.0.1", config=sshd.config)
    try:
        ports = {run(node, ["sh", "-c", "echo $SSH_CLIENT"], timeout=20).stdout for _ in range(2)}
    finally:
        node.close()
    assert len(ports) == 2


def test_a_connection_that_is_lost(sshd: Sshd) -> None:
    node = SshAccess(NODE, "127.0.0.1", config=sshd.config)
    running = spawn(node, ["sh", "-c", "echo $$ >&2; exec sleep 60"])
    running.wait_for(b"\n", 20)
    sessions = Path(f"/proc/{sshd.process.pid}/task/{sshd.process.pid}/children").read_text().split()
    for session in sessions:
        os.kill(int(session), signal.SIGKILL)
    with fails(
        NodeUnreachable,
        f"{NODE} does not answer to ssh: the connection was lost (see `ssh {NODE}`, --ssh-config)",
    ):
        running.wait_for(b"never said", 20)
    running.release()
    assert run(node, ["echo", "again"], timeout=20).stdout == b"again\n"
    os.kill(int(running.stderr.split()[0]), signal.SIGKILL)
    node.close()


def test_the_user_s_configuration_leads_to_it(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host {NODE}\n  HostName 127.0.0.1\n" + sshd.config.read_text())
    node = SshAccess(NODE, "192.0.2.1", config=config)
    assert run(node, ["echo", "here"], timeout=20).stdout == b"here\n"
    node.close()


def test_a_name_that_resolves_leads_to_it(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"HostKeyAlias [127.0.0.1]:{sshd.port}\n" + sshd.config.read_text())
    node = SshAccess("localhost", "192.0.2.1", config=config)
    assert run(node, ["echo", "here"], timeout=20).stdout == b"here\n"
    node.close()


def test_another_machine_answers(sshd: Sshd) -> None:
    with fails(
        ClusterError,
        f"`ssh {NODE}` leads to another machine than node {NODE} (its boot id is {BOOT}, the node's 4711): "
        f"give the way to it in --ssh-config (Host {NODE}, HostName ...)",
    ):
        SshAccess(NODE, "127.0.0.1", boot_id="4711", config=sshd.config)


def test_a_user_who_may_become_root(sshd: Sshd) -> None:
    program(sshd.folder, "id", '[ -n "$SUDO" ] && echo 0 || echo 1000')
    program(sshd.folder, "sudo", 'shift 2; SUDO=yes exec "$@"')
    try:
        node = SshAccess(NODE, "127.0.0.1", config=sshd.config)
        assert run(node, ["sh", "-c", "echo $SUDO"], timeout=20).stdout == b"yes\n"
        node.close()
    finally:
        (sshd.folder / "id").unlink()
        (sshd.folder / "sudo").unlink()


def test_a_user_who_may_not(sshd: Sshd) -> None:
    program(sshd.folder, "id", "echo 1000")
    program(sshd.folder, "sudo", "echo sudo: a password is required >&2; exit 1")
    try:
        with fails(
            ClusterError,
            f"captures on {NODE} need root, and `sudo -n` refuses it to the user of ssh: its last words: "
            "sudo: a password is required; allow it without a password, or name another User in --ssh-config",
        ):
            SshAccess(NODE, "127.0.0.1", config=sshd.config)
    finally:
        (sshd.folder / "id").unlink()
        (sshd.folder / "sudo").unlink()


def test_a_shell_that_speaks_first(sshd: Sshd) -> None:
    program(sshd.folder, "id", "echo Welcome; echo 0")
    try:
        with fails(
            ClusterError,
            f"the user of ssh on {NODE} has a shell that prints 'Welcome' before any command, so captures "
            f"would be unreadable: silence its start-up files (`ssh {NODE} true`)",
        ):
            SshAccess(NODE, "127.0.0.1", config=sshd.config)
    finally:
        (sshd.folder / "id").unlink()


def test_a_session_that_ends_at_once(sshd: Sshd) -> None:
    program(sshd.folder, "sh", "echo This account is currently not available. >&2; exit 1")
    try:
        with fails(
            NodeUnreachable,
            f"{NODE} does not answer to ssh: the session ended; its last words: This account is currently "
            f"not available. (`ssh {NODE}`)",
        ):
            SshAccess(NODE, "127.0.0.1", config=sshd.config)
    finally:
        (sshd.folder / "sh").unlink()


def test_no_key_is_accepted(sshd: Sshd, tmp_path: Path) -> None:
    identity = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", identity], check=True)
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text().replace(f"IdentityFile {sshd.folder}/user", ""))
    with pytest.raises(NodeUnreachable) as raised:
        SshAccess(NODE, "127.0.0.1", config=config, identity=identity)
    assert str(raised.value).startswith(f"{NODE} does not answer to ssh: ")
    assert "Permission denied" in str(raised.value)


def test_the_key_that_testinfra_s_option_names(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text().replace(f"IdentityFile {sshd.folder}/user", ""))
    node = SshAccess(
        NODE, "127.0.0.1", config=config, identity=sshd.folder / "user", extra="-o Compression=yes"
    )
    assert run(node, ["echo", "here"], timeout=20).stdout == b"here\n"
    node.close()


def test_a_host_key_that_nobody_accepted(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text().replace(f"{sshd.folder}/known", str(tmp_path / "known")))
    with fails(
        NodeUnreachable,
        f"{NODE} does not answer to ssh: Host key verification failed. (see `ssh {NODE}`, --ssh-config)",
    ):
        SshAccess(NODE, "127.0.0.1", config=config)


def test_nobody_listens(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  Port 1\n")
    with fails(
        NodeUnreachable,
        f"{NODE} does not answer to ssh: ssh: connect to host 127.0.0.1 port 1: Connection refused (see "
        f"`ssh {NODE}`, --ssh-config)",
    ):
        SshAccess(NODE, "127.0.0.1", config=config)


def test_a_server_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "READY", 0.2)
    monkeypatch.setattr(local, "LETTING_GO", 0.01)
    config = tmp_path / "config"
    with socket.create_server(("127.0.0.1", 0)) as server:
        config.write_text(f"Host *\n  Port {server.getsockname()[1]}\n")
        with fails(
            NodeUnreachable,
            f"{NODE} does not answer to ssh: not within 0.2 s; it said nothing (`ssh {NODE}`)",
        ):
            SshAccess(NODE, "127.0.0.1", config=config)


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Hots *\n")
    with pytest.raises(ClusterError) as raised:
        SshAccess(NODE, "127.0.0.1", config=config)
    assert str(raised.value) == (
        f"ssh {NODE}: its last words: {config}: terminating, 1 bad configuration options; see --ssh-config"
    )


def test_no_ssh_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with fails(ClusterError, "ssh is not on PATH of this machine: install it"):
        SshAccess(NODE)
