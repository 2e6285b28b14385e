"""Nodes by ssh: OpenSSH's client with the user's own configuration, keys and agent.

Its command line is testinfra's (``testinfra.backend.ssh``), so ``--ssh-config`` and ``--ssh-identity-file``
mean what they mean there. The process is ours: testinfra's runs a command to its end and decodes what it
said, while a capture is binary and has to be heard while it runs.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testinfra.backend.ssh import SshBackend

from pytest_k8snet.clusters.base import ClusterError, Deadline, NodeUnreachable
from pytest_k8snet.clusters.ways.local import LocalProcess, call
from pytest_k8snet.clusters.ways.remote import Access, Process, words

CONNECTING = 10  #: seconds for one connection (ssh's ConnectTimeout)
READY = 30.0  #: seconds until the first command answers, with jump hosts on the way
FAILED = 255  #: ssh's own exit status: it has no other

#: The first to be given wins, so that these stand before the user's own.
_OPTIONS = {
    "BatchMode": "yes",  # nobody is there to type a password
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RequestTTY": "no",  # would mix standard error with output, and change its line ends
    "LogLevel": "INFO",  # says why it failed
    "ServerAliveInterval": "10",  # a node that is gone is noticed within half a minute
    "ServerAliveCountMax": "2",
    "ControlPersist": "no",
}
#: sun_path has 108 bytes; ssh first binds a name that is 17 characters longer.
_SOCKET_LENGTH = 90

#: Runs until its standard input ends, and says first who and where it is.
_HELLO = "id -u; cat /proc/sys/kernel/random/boot_id; exec cat"
#: A command's own 255 (`ip` has it) is told from ssh's by these last words of standard error. And what sshd
#: tells of a process that was killed by a signal, ssh makes 255 of: a shell above it says 128+N.
_OWN = b"k8snet-status 255\n"
_ABOVE = f'"$@"; status=$?; [ $status != 255 ] || echo {_OWN.decode().strip()} >&2; exit $status'


class SshAccess(Access):
    """Commands on one node, as root, over one connection.

    ``name`` is what the user's ssh_config(5) knows the node by. Where neither that nor the name service has
    an address for it, ``address`` is used (the node's InternalIP). ``boot_id`` is the node's
    (``status.nodeInfo.bootID``): that it is this machine which answers is checked then. ``config``,
    ``identity`` and ``extra`` are testinfra's ``--ssh-config``, ``--ssh-identity-file`` and
    ``--ssh-extra-args``.

    The connection is a master (``ControlMaster``) that lives as long as this process holds its standard
    input. Raises NodeUnreachable with ssh's own words, or ClusterError where commands can't be root's.
    """

    def __init__(
        self,
        name: str,
        address: str = "",
        *,
        boot_id: str = "",
        config: Path | None = None,
        identity: Path | None = None,
        extra: str = "",
    ) -> None:
        self.place = name
        backend = SshBackend(
            name,
            ssh_config=str(config) if config else None,
            ssh_identity_file=str(identity) if identity else None,
            ssh_extra_args=extra or None,
            timeout=CONNECTING,
            controlpersist=0,
        )
        # Words with %s in them, and what to put there, quoted; the last of both are host and command.
        line, values = backend._build_ssh_command("")
        self._ssh = shlex.split(backend.quote(" ".join(line), *values))[:-1]
        self._folder = Path(tempfile.mkdtemp(prefix="k8snet-"))
        self._numbers = itertools.count()
        self._master: SshProcess | None = None
        self._become: tuple[str, ...] = ()
        path = self._folder / "m"
        control = str(path) if len(str(path)) <= _SOCKET_LENGTH else "none"
        self._options = dict(_OPTIONS, ControlPath=control, ControlMaster="no")
        try:
            self._options |= self._address(address)
            user, seen = self._connect()
            if boot_id and seen != boot_id:
                raise ClusterError(
                    f"`ssh {name}` leads to another machine than node {name} (its boot id is {seen}, the "
                    f"node's {boot_id}): give the way to it in --ssh-config (Host {name}, HostName ...)"
                )
            if user != "0":
                self._check_sudo()
        except BaseException:
            self.close()
            raise

    def start(self, argv: Sequence[str], *, stdin: bytes = b"") -> Process:
        return self._start(("sh", "-c", _ABOVE, "sh", *self._become, *argv), stdin=stdin)

    def close(self) -> None:
        if self._master is not None:
            self._master.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(
        self, argv: Sequence[str], *, stdin: bytes = b"", held: bool = False, master: str = "no"
    ) -> SshProcess:
        log = self._folder / str(next(self._numbers))
        options = dict(self._options, ControlMaster=master)
        program, *rest = self._ssh
        line = [program, "-E", str(log), *(f"-o{name}={value}" for name, value in options.items()), *rest]
        # One word: the user's shell at the other end takes it apart again.
        shared = None if held else self._master
        return SshProcess([*line, shlex.join(argv)], self.place, log, master=shared, stdin=stdin, held=held)

    def _address(self, address: str) -> dict[str, str]:
        """``address`` as an option where nothing else leads to the node."""
        program, *rest = self._ssh
        asked = call([program, "-G", *rest], timeout=CONNECTING)
        if asked.exit_status:
            raise ClusterError(f"ssh {self.place}: {words(asked.stderr)}; see --ssh-config")
        settings = dict(line.partition(" ")[::2] for line in asked.stdout.decode().splitlines())
        if not address or settings.get("hostname", "").lower() != self.place.lower():
            return {}
        try:
            socket.getaddrinfo(self.place, None)
        except socket.gaierror:
            return {"HostName": address}
        return {}

    def _connect(self) -> tuple[str, str]:
        """Open the connection: the user's id and the machine's boot id."""
        master = "no" if self._options["ControlPath"] == "none" else "yes"
        self._master = process = self._start(("sh", "-c", _HELLO), held=True, master=master)
        deadline = Deadline(READY)
        while process.stdout.count(b"\n") < 2 and process.exit_status is None and deadline.left:
            process.pump(deadline.left)
        said = process.stdout.decode(errors="replace").split()
        if len(said) < 2:
            # ssh's own failure has been raised by then.
            why = f"not within {READY:g} s" if process.exit_status is None else "the session ended"
            raise NodeUnreachable(
                f"{self.place} does not answer to ssh: {why}; {words(process.stderr)} (`ssh {self.place}`)"
            )
        if not said[0].isdigit():
            raise ClusterError(
                f"the user of ssh on {self.place} has a shell that prints {said[0]!r} before any command, so "
                f"captures would be unreadable: silence its start-up files (`ssh {self.place} true`)"
            )
        return said[0], said[1]

    def _check_sudo(self) -> None:
        self._become = ("sudo", "-n", "--")
        process = self._start((*self._become, "id", "-u"))
        try:
            deadline = Deadline(READY)
            while process.exit_status is None and deadline.left:
                process.pump(deadline.left)
        finally:
            process.close()
        if process.stdout.strip() != b"0":
            raise ClusterError(
                f"captures on {self.place} need root, and `sudo -n` refuses it to the user of ssh: "
                f"{words(process.stderr)}; allow it without a password, or name another User in --ssh-config"
            )


class SshProcess(LocalProcess):
    """One ssh. ``log`` is where it writes its own words, apart from those of the command; ``master`` holds
    the connection, unless this one does."""

    def __init__(
        self,
        argv: Sequence[str],
        place: str,
        log: Path,
        *,
        master: SshProcess | None,
        stdin: bytes = b"",
        held: bool = False,
    ) -> None:
        self._place = place
        self._log = log
        self._master = master
        super().__init__(argv, stdin=stdin, held=held)

    def pump(self, timeout: float) -> None:
        running = self.exit_status is None
        super().pump(timeout)
        if running and self.exit_status == FAILED:
            if not self.stderr.endswith(_OWN):
                why = self._said() or (self._master and self._master._said()) or "the connection was lost"
                raise NodeUnreachable(
                    f"{self._place} does not answer to ssh: {why} (see `ssh {self._place}`, --ssh-config)"
                )
            del self.stderr[-len(_OWN) :]

    def close(self) -> None:
        super().close()
        self._log.unlink(missing_ok=True)

    def _said(self) -> str:
        """The last of ssh's own words that is no mere warning ("Permanently added ...")."""
        if not self._log.exists():
            return ""
        lines = [line.strip() for line in self._log.read_text(errors="backslashreplace").splitlines()]
        return next(
            (line for line in reversed(lines) if line and not line.startswith(("Warning:", "**"))), ""
        )
