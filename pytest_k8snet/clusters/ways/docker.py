"""Nodes that are Docker containers (kind): commands in them, and a container of tools beside each.

Not by testinfra's docker backend: it runs a command to its end and then returns all it said, while a
capture has to be heard while it runs.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.ways.local import LocalAccess, LocalProcess, call

#: On every container that we start: the run that did, and the node that it is for.
RUN_LABEL = "io.pytest-k8snet.run"
NODE_LABEL = "io.pytest-k8snet.node"
OPTION = "--k8snet-probe-image"

PULLING = 600.0  #: seconds for an image of about 200 MB
STARTING = 60.0  #: seconds until a container runs
ASKING = 30.0  #: seconds for the daemon's answer to anything else


def access(container: str, *, place: str = "") -> LocalAccess:
    """Commands in ``container``, which errors name ``place``. DOCKER_HOST and contexts have their say."""
    return LocalAccess(place or container, ("docker", "exec", "-i", container))


class CaptureContainer(LocalAccess):
    """Commands in a container of ``image`` that shares the network and PID namespaces of a node's container.

    It is started here, and runs ``cat`` on a standard input that this process holds: it ends with
    :meth:`close`, and also when this process is killed. Docker removes it at its end (``--rm``). Raises
    ClusterError, one line, where there is no image or Docker refuses.
    """

    def __init__(
        self, node: str, image: str, *, run_id: str, progress: Callable[[str], None] = lambda step: None
    ) -> None:
        self.name = f"k8snet-{node}-{run_id}"
        super().__init__(node, access(self.name).prefix)
        have_image(image, progress)
        self._process = LocalProcess(
            [
                # A daemon that maps users refuses a privileged container in a namespace of their own.
                *("docker", "run", "-i", "--rm", "--name", self.name, "--privileged", "--userns", "host"),
                *("--label", f"{RUN_LABEL}={run_id}", "--label", f"{NODE_LABEL}={node}"),
                *("--network", f"container:{node}", "--pid", f"container:{node}"),
                *("--entrypoint", "sh", image, "-c", "echo ready; exec cat"),
            ],
            held=True,
        )
        try:
            self._wait(image)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it; Docker has removed it then."""
        self._process.close()

    def _wait(self, image: str) -> None:
        process = self._process
        deadline = Deadline(STARTING)
        while b"ready" not in process.stdout and process.exit_status is None and deadline.left:
            process.pump(deadline.left)
        if b"ready" in process.stdout:
            return
        why = complaint(process.stderr)
        if process.exit_status is None:
            why = f"it was not up within {STARTING:g} s; {why}"
        raise ClusterError(
            f"no container of image {image} could be started beside {self.place}: {why}; "
            f"see `docker ps`, or name another image with {OPTION}"
        )


def have_image(image: str, progress: Callable[[str], None] = lambda step: None) -> None:
    """Pull ``image`` unless Docker has it. ClusterError, one line with the way out, when it can't be had."""
    asked = call(["docker", "image", "inspect", "--format={{.Id}}", image], timeout=ASKING)
    if not asked.exit_status:
        return
    if b"no such image" not in asked.stderr.lower():
        raise ClusterError(f"Docker can't be asked for image {image}: {complaint(asked.stderr)}")
    progress(f"pull {image}")
    try:
        pulled = call(["docker", "pull", "--quiet", image], timeout=PULLING)
        why = complaint(pulled.stderr) if pulled.exit_status else ""
    except CommandTimeout as error:
        why = str(error)
    finally:
        progress("")
    if why:
        raise ClusterError(
            f"image {image} (captures on the nodes) is not on this machine and can't be pulled: {why}; "
            f"`docker pull {image}` or `docker load` it, or name another with {OPTION}"
        )


def remove_leftovers() -> list[str]:
    """Remove containers of ours that ended and stayed, as when the daemon was killed: their names.

    One that runs belongs to a run that goes on: it ends with it.
    """
    listing = ["docker", "container", "ls", "--all", f"--filter=label={RUN_LABEL}"]
    ended = ["--filter=status=exited", "--filter=status=dead", "--format={{.Names}}"]
    listed = call([*listing, *ended], timeout=ASKING)
    if listed.exit_status:
        raise ClusterError(f"Docker's containers can't be listed: {complaint(listed.stderr)}")
    names = listed.stdout.decode().split()
    if names:
        removed = call(["docker", "container", "rm", "--force", *names], timeout=ASKING)
        if removed.exit_status:
            raise ClusterError(
                f"containers of an earlier run can't be removed: {complaint(removed.stderr)}; "
                f"`docker rm --force {' '.join(names)}`"
            )
    return names


def complaint(said: bytes | bytearray) -> str:
    """What docker complains of: the first line that is no warning. The last one tells of ``--help``."""
    lines = [line.strip() for line in said.decode(errors="backslashreplace").splitlines()]
    said_first = next((line for line in lines if line and not line.startswith("WARNING")), "")
    return said_first.removeprefix("docker: ") or "it said nothing"
