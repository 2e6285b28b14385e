"""A real dockerd, without bridge and firewall rules, and pods as dockershim and cri-dockerd make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import cached_property

from tests.engines import rootfs
from tests.engines.contained import Contained, folder, missing, remove

PAUSE, APP, TOOLS = "pause:3.2", "app:1", "tools:1"


def why_not() -> str:
    return missing("dockerd", "docker", "containerd", "runc")


class Dockerd:
    """``environment`` leads any docker client to it; ``inside`` before a command runs that on its "node".

    Images: ``PAUSE`` and ``APP`` (busybox; the latter answers /hostname on the port it is given); ``tools``
    is one more with curl, tcpdump and ip of this machine, made when it is asked for.
    """

    def __init__(self) -> None:
        self.folder = folder()
        socket = self.folder / "docker.sock"
        self.environment: Mapping[str, str] = {"DOCKER_HOST": f"unix://{socket}"}
        self._daemon = Contained(
            self.folder,
            (
                *("dockerd", "--host", f"unix://{socket}", "--pidfile", f"{self.folder}/pid"),
                *("--data-root", f"{self.folder}/root", "--exec-root", f"{self.folder}/exec"),
                *("--storage-driver", "vfs", "--cgroup-parent", f"/{self.folder.name}"),
                *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
                *("--ip-masq=false", "--userland-proxy=false"),
            ),
            hidden=("/etc/docker", "/opt/containerd", "/run/docker"),
        )
        try:
            self._daemon.wait(lambda: self._docker("version").returncode == 0)
            small = rootfs.archive()
            for name in (PAUSE, APP):
                self.run("import", "--change", 'CMD ["sleep", "1000000"]', "-", name, stdin=small)
        except BaseException:
            self.close()
            raise

    @property
    def inside(self) -> tuple[str, ...]:
        return self._daemon.inside

    @cached_property
    def tools(self) -> str:
        """The name of an image with busybox, curl, tcpdump and ip. Raises FileNotFoundError without them."""
        self.run("import", "-", TOOLS, stdin=rootfs.archive("curl", "tcpdump", "ip"))
        return TOOLS

    def run(self, *words: str, stdin: bytes = b"") -> str:
        """``docker WORDS``, its standard output without the last line feed. Raises RuntimeError."""
        done = self._docker(*words, stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode().strip()

    def sandbox(self, pod: str, *, network: str = "none", attempt: int = 0) -> str:
        """The id of a new pause container of ``pod`` in namespace default. CNI's part is left out."""
        return self._start(pod, "POD", "podsandbox", PAUSE, (), network=network, attempt=attempt)

    def container(
        self, pod: str, name: str, sandbox: str, port: int, *, network: str = "", attempt: int = 0
    ) -> str:
        """The id of a new container of ``pod`` that answers on ``port``; ``network`` is the sandbox's."""
        serve = ("sh", "-c", rootfs.SERVE, "sh", str(port))
        network = network or f"container:{sandbox}"
        labels = ("--label", f"io.kubernetes.sandbox.id={sandbox}")
        return self._start(pod, name, "container", APP, serve, *labels, network=network, attempt=attempt)

    def close(self) -> None:
        self._daemon.end()
        remove(self.folder)

    def _start(
        self,
        pod: str,
        name: str,
        kind: str,
        image: str,
        command: tuple[str, ...],
        *options: str,
        network: str,
        attempt: int,
    ) -> str:
        labels = {
            "io.kubernetes.container.name": name,
            "io.kubernetes.docker.type": kind,
            "io.kubernetes.pod.name": pod,
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": f"uid-{pod}",
        }
        joined = network.startswith("container:")
        return self.run(
            *("run", "--detach", "--name", f"k8s_{name}_{pod}_default_uid-{pod}_{attempt}"),
            *("--network", network, *(() if joined or network == "host" else ("--hostname", pod))),
            *(word for label, value in labels.items() for word in ("--label", f"{label}={value}")),
            *(*options, image, *command),
        )

    def _docker(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            ("docker", *words), input=stdin, capture_output=True, env=environment, timeout=60, check=False
        )
