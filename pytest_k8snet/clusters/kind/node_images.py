"""Images on their way into the nodes: pulled by this machine's Docker once, then copied into each node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pytest_k8snet.clusters.base import ClusterError, CommandTimeout, Deadline
from pytest_k8snet.clusters.images import DOCUMENT, Images
from pytest_k8snet.clusters.kind.daemon import docker, there
from pytest_k8snet.clusters.kind.downloads import architecture
from pytest_k8snet.clusters.kind.kind_tool import Kind, KindFailed
from pytest_k8snet.clusters.ways.docker import complaint
from pytest_k8snet.clusters.ways.local import call

#: At once. A pull waits for the registry, a copy for the disk: more make neither faster.
PULLS, COPIES = 3, 2


def of_labs(images: Images) -> list[str]:
    """The images that the bundled labs run."""
    return sorted({images.resolved(image) for image in DOCUMENT})


def pull(images: Iterable[str], deadline: Deadline, progress: Callable[[str], None], advice: str) -> None:
    """Pull those that Docker has not got yet, several at once.

    Raises ClusterError for the first that can't be had: docker's words, then ``advice``.
    """
    missing = [image for image in dict.fromkeys(images) if not there(image)]
    if missing:
        progress(f"pulling {', '.join(image.partition('@')[0] for image in missing)}")
        _each(lambda image: _pull(image, deadline, advice), missing, PULLS)


def load(kind: Kind, images: Iterable[str], deadline: Deadline, progress: Callable[[str], None]) -> None:
    """Copy ``images`` from Docker into all nodes, so that no node pulls them. Raises ClusterError.

    One that is named by its digest is left to the nodes: a copy does not carry that name.
    """
    named = [image for image in dict.fromkeys(images) if "@" not in image]
    if named:
        progress(f"copying {len(named)} images into the nodes")
        _each(lambda image: _load(kind, image, deadline), named, COPIES)


def _pull(image: str, deadline: Deadline, advice: str) -> None:
    try:
        pulled = call(["docker", "pull", "--quiet", image], timeout=deadline.left)
        why = complaint(pulled.stderr) if pulled.exit_status else ""
    except CommandTimeout as error:
        why = f"{error} (--k8snet-timeout)"
    if why:
        raise ClusterError(
            f"image {image} is not on this machine and can't be pulled: {why}; `docker pull {image}` or"
            f" `docker load` it{', or ' if advice else ''}{advice}"
        )


def _load(kind: Kind, image: str, deadline: Deadline) -> None:
    try:
        kind.load(image, deadline)
    except KindFailed as failed:
        # Docker's containerd image store saves an image with an index of all its platforms, but with the
        # layers of one, and ctr refuses that (kubernetes-sigs/kind#3795).
        archive = kind.folder / f"{abs(hash(image))}.tar"
        try:
            platform = f"linux/{architecture()}"
            docker("save", "--platform", platform, "-o", str(archive), image, timeout=deadline.left)
            kind.load_archive(archive, deadline)
        except ClusterError as error:
            raise ClusterError(
                f"image {image} can't be copied into the nodes: {failed}; nor its {platform} part alone:"
                f" {error}"
            ) from None
        finally:
            archive.unlink(missing_ok=True)


def _each(do: Callable[[str], None], images: Sequence[str], at_once: int) -> None:
    """The first failure is raised once those under way have ended; no further one is begun."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="k8snet-image") as pool:
        futures = [pool.submit(do, image) for image in images]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
