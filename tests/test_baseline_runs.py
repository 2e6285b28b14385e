"""Kept runs read back as facts and set side by side: what is the same, what differs, what can't be read."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from pytest_k8snet import kept
from pytest_k8snet.clusters.bundle import BundleError, load_bundle, recorded_verdicts
from pytest_k8snet.meaning.comparison import Comparison, compare
from tests.bundles import other_addresses
from tests.matrix.replayed import recorded

HEALTHY = Path(__file__).parent / "bundles" / "healthy"
OTHER = HEALTHY.parent / f"{other_addresses.NAME}.tar.xz"


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return folder / archive.name.partition(".")[0]


def beside(before: Path, now: Path) -> Comparison:
    one, other = kept.read(before), kept.read(now)
    return compare(one.meaning, other.meaning, baseline=one.name)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(HEALTHY, tmp_path / "kept")


def test_two_healthy_runs_on_differently_addressed_networks_mean_the_same(tmp_path: Path) -> None:
    """Other blocks of pods, services' range, nodes' addresses and names; so other ports and digests too."""
    other = unpacked(OTHER, tmp_path)
    one, two = load_bundle(HEALTHY).header, load_bundle(other).header
    assert one["intent"]["pod_cidr"] != two["intent"]["pod_cidr"]
    assert not set(one["nodes"]) & set(two["nodes"])
    addresses = (b"20.109.131.", b"20.111.156.", b"10.107.94.97", b"192.168.219.", b"k8s-node")
    for path in other.rglob("*.jsonl"):
        assert not [address for address in addresses if address in path.read_bytes()], path

    for before, now in ((HEALTHY, other), (other, HEALTHY)):
        comparison = beside(before, now)
        assert (comparison.changes, comparison.left_out) == ((), {})
        assert comparison.same > 150


def test_a_fault_on_one_of_them_still_differs(tmp_path: Path) -> None:
    """Roles take away what does not matter, and no more."""
    faulty = unpacked(recorded("pod-traffic-masqueraded"), tmp_path)
    found = {change.id: change for change in beside(unpacked(OTHER, tmp_path), faulty).changes}
    assert found["verdict/pod-network/source-kept"].now == "broken"
    assert [id for id in found if id.startswith("inner-source/pod-network/")]


def test_every_lab_and_every_verdict_of_a_bundle_is_read() -> None:
    run = kept.read(HEALTHY)
    assert run.name.startswith("healthy (embedded, recorded 20")
    assert {lab for fact in run.meaning.values() for lab in fact.labs} == set(kept.OBSERVERS)
    verdicts = {id: fact.value for id, fact in run.meaning.items() if id.startswith("verdict/")}
    assert set(verdicts.values()) == {"held"}
    assert len(verdicts) == 34


def test_a_run_that_was_killed_is_compared_as_far_as_it_went(copy: Path) -> None:
    header = json.loads((copy / "bundle.json").read_text())
    header |= {"labs": {"pause": header["labs"]["pause"]}, "finished": None}
    (copy / "bundle.json").write_text(json.dumps(header))
    for lab in ("clusterip", "clusterip-spread", "nodeport"):
        shutil.rmtree(copy / "labs" / lab)
    for file in ("commands.jsonl", "verdicts.jsonl"):  # killed while it wrote a line of each
        path = copy / "labs" / "pod-network" / file
        path.write_bytes(path.read_bytes()[:-20])
    kept.check(copy)
    comparison = beside(copy, HEALTHY)
    assert comparison.changes == ()
    assert comparison.left_out is not None
    assert comparison.left_out["lab/clusterip"] == "not run in the baseline"
    assert comparison.left_out["verdict/nodeport/masqueraded"] == "not in the baseline"
    back = beside(HEALTHY, copy)
    assert [change for change in back.changes if not change.unknown] == []


def test_a_lab_whose_recording_lacks_its_beginning_is_left_out_and_says_why(copy: Path) -> None:
    commands = copy / "labs/clusterip/commands.jsonl"
    lines = commands.read_bytes().splitlines(keepends=True)
    left = [line for line in lines if b'"read"' not in line]
    commands.write_bytes(b"".join(left))
    header = json.loads((copy / "bundle.json").read_text())
    header["labs"]["clusterip"]["records"] -= len(lines) - len(left)
    (copy / "bundle.json").write_text(json.dumps(header))
    comparison = beside(copy, HEALTHY)
    assert comparison.changes == ()
    assert comparison.left_out is not None
    assert "holds nothing of the API read of" in comparison.left_out["lab/clusterip"]


def test_the_last_verdict_of_a_claim_counts(copy: Path) -> None:
    with (copy / "labs/pause/verdicts.jsonl").open("a") as file:
        file.write('{"test": "again", "claim": "pause/pod-ip", "outcome": "broken"}\n')
    found = recorded_verdicts(load_bundle(copy))
    assert found["pause/pod-ip"] == "broken"
    assert len(found) == 34


def test_half_a_verdict_is_damage_in_a_lab_that_was_closed(copy: Path) -> None:
    path = copy / "labs/pause/verdicts.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BundleError) as caught:
        kept.check(copy)
    assert str(caught.value) == f"{path}: cut in line 9"


@pytest.mark.parametrize(
    ("line", "problem"),
    [("{", "line 10 is damaged ("), ('{"claim": "pause/pod-ip"}', "line 10 is no verdict (no outcome)")],
)
def test_a_damaged_verdict_is_refused(copy: Path, line: str, problem: str) -> None:
    path = copy / "labs/pause/verdicts.jsonl"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(BundleError) as caught:
        kept.check(copy)
    assert str(caught.value).startswith(f"{path}: {problem}")


def test_what_is_no_whole_bundle_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: no such directory"):
        kept.check(tmp_path / "nowhere")
    (copy / "labs/clusterip/commands.jsonl").unlink()
    with pytest.raises(BundleError, match=r"commands\.jsonl: missing, the bundle is cut"):
        kept.check(copy)
