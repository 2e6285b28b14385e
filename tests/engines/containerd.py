"""A real containerd with its CRI plugin, and pods as the kubelet has it make them, by crictl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.engines import rootfs
from tests.engines.contained import Contained, folder, missing, remove

PAUSE, APP = "docker.io/library/pause:3.2", "docker.io/library/app:1"
CNI_PLUGINS = Path("/usr/lib/cni")  #: of Debian's containernetworking-plugins

#: Negative values of oom_score_adj need CAP_SYS_RESOURCE, which containers that run tests lack.
CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
"""

#: A veth pair and a host route for each pod, as on the recorded nodes.
NETWORK = {
    "cniVersion": "0.3.1",
    "name": "ptp",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "20.111.156.64/26"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


def why_not() -> str:
    """crictl is no Debian package: these tests run where somebody installed it."""
    reason = missing("containerd", "ctr", "runc", "crictl")
    return reason or ("" if CNI_PLUGINS.is_dir() else "not installed: containernetworking-plugins")


class Containerd:
    """``inside`` before a command runs that on its "node"; ``endpoint`` is what crictl is given."""

    def __init__(self) -> None:
        self.folder = folder()
        self.endpoint = f"unix://{self.folder}/containerd.sock"
        config = self.folder / "config.toml"
        config.write_text(CONFIG.format(folder=self.folder, pause=PAUSE, plugins=CNI_PLUGINS))
        (self.folder / "cni").mkdir()
        (self.folder / "cni" / "10-ptp.conflist").write_text(json.dumps(NETWORK))
        self._daemon = Contained(
            self.folder, ("containerd", "--config", str(config)), hidden=("/run/netns", "/var/lib/cni")
        )
        try:
            self._daemon.wait(lambda: self._run("ctr", *self._address, "version").returncode == 0)
            layer = rootfs.archive()
            for name in (PAUSE, APP):
                image = rootfs.saved(name, layer, ("sleep", "1000000"))
                self.run("ctr", *self._address, "-n", "k8s.io", "images", "import", "-", stdin=image)
        except BaseException:
            self.close()
            raise

    @property
    def _address(self) -> tuple[str, ...]:
        return ("--address", f"{self.folder}/containerd.sock")

    @property
    def inside(self) -> tuple[str, ...]:
        return self._daemon.inside

    def run(self, *argv: str, stdin: bytes = b"") -> str:
        """The standard output without its last line feed. Raises RuntimeError."""
        done = self._run(*argv, stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode().strip()

    def crictl(self, *words: str) -> str:
        return self.run("crictl", "--runtime-endpoint", self.endpoint, *words)

    def sandbox(self, pod: str, *, host: bool = False, attempt: int = 0) -> str:
        """The id of a new sandbox of ``pod`` in namespace default."""
        return self.crictl("runp", self._written(f"{pod}.json", self._pod(pod, host=host, attempt=attempt)))

    def container(self, pod: str, name: str, sandbox: str, port: int, *, host: bool = False) -> str:
        """The id of a new container of ``pod`` that answers on ``port``."""
        labels = {"io.kubernetes.container.name": name, **self._labels(pod)}
        body = {
            "metadata": {"name": name},
            "image": {"image": APP},
            "command": ["sh", "-c", rootfs.SERVE, "sh", str(port)],
            "labels": labels,
            "linux": {"security_context": {"namespace_options": self._options(host=host)}},
        }
        made = self.crictl(
            "create",
            sandbox,
            self._written(f"{name}.json", body),
            self._written(f"{pod}.json", self._pod(pod, host=host)),
        )
        self.crictl("start", made)
        return made

    def remove(self, *sandboxes: str) -> None:
        for sandbox in sandboxes:
            self.crictl("stopp", sandbox)
            self.crictl("rmp", sandbox)

    def close(self) -> None:
        self._daemon.end()
        remove(self.folder)

    def _pod(self, pod: str, *, host: bool = False, attempt: int = 0) -> dict[str, Any]:
        return {
            "metadata": {"name": pod, "namespace": "default", "uid": f"uid-{pod}", "attempt": attempt},
            "hostname": "" if host else pod,
            "log_directory": str(self.folder),
            "labels": self._labels(pod),
            "linux": {
                "cgroup_parent": f"/{self.folder.name}",
                "security_context": {"namespace_options": self._options(host=host)},
            },
        }

    @staticmethod
    def _labels(pod: str) -> dict[str, str]:
        return {
            "io.kubernetes.pod.name": pod,
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": f"uid-{pod}",
        }

    @staticmethod
    def _options(*, host: bool) -> dict[str, int]:
        """CRI's NamespaceMode: POD 0, CONTAINER 1, NODE 2."""
        return {"network": 2 if host else 0, "pid": 1}

    def _written(self, name: str, body: dict[str, Any]) -> str:
        path = self.folder / name
        path.write_text(json.dumps(body))
        return str(path)

    def _run(self, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)
