"""A bundle is written as the run goes; one that is not whole is refused, as is a directory in use."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_k8snet import __version__
from pytest_k8snet.clusters import choose
from pytest_k8snet.clusters.base import ClusterError, CommandTimeout
from pytest_k8snet.clusters.bundle import BundleError, BundleTape, load_bundle
from pytest_k8snet.clusters.embedded import EmbeddedCluster
from pytest_k8snet.clusters.records import REDACTED, Record
from pytest_k8snet.clusters.tape import MemoryTape
from pytest_k8snet.intent import Intent
from tests.clusters.fake import FakeCluster, says

BINARY = b"\xd4\xc3\xb2\xa1\x02\x00\n\xff"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def recorded(directory: Path, *, close: bool = True) -> BundleTape:
    """A small run: one lab, two commands, an API read and a capture."""
    tape = BundleTape(directory)
    cluster = FakeCluster(tape)
    cluster.objects["pods"] = b'{"items": []}'
    cluster.say("k8s-node1", "echo", says("한 줄\n", "warned\n", 3))
    cluster.say("k8s-node1", "raw", says(BINARY))
    cluster.say("k8s-node2", "tcpdump", says(BINARY, "listening on eth1\n"))
    tape.describe_cluster(cluster, Intent())
    with cluster.lab("pod-network"):
        cluster.nodes["k8s-node1"].run("echo", "한")
        cluster.nodes["k8s-node1"].run("raw")
        cluster.get("pods")
        capture = cluster.nodes["k8s-node2"].spawn("tcpdump", pcap="request-source-uplink.pcap")
        capture.wait_for(b"listening on", 1)
        capture.stop()
    tape.verdict("test_it", "pod-network/one-flow", {"outcome": "held", "seen": "한"})
    if close:
        tape.close()
    return tape


def test_a_run_is_kept_raw(tmp_path: Path) -> None:
    tape = recorded(tmp_path / "deep" / "bundle")
    root = tmp_path / "deep" / "bundle"
    header = json.loads((root / "bundle.json").read_text())
    assert header["format"] == 1
    assert header["pytest_k8snet"] == __version__
    assert header["run_id"] == tape.run_id
    assert header["provider"] == "fake"
    assert header["roles"] == {"master": "k8s-master", "node1": "k8s-node1", "node2": "k8s-node2"}
    assert header["intent"]["pod_cidr"] == "20.96.0.0/12"
    assert header["finished"] >= header["started"]
    assert header["labs"] == {"pod-network": {"records": 4}}

    lab = root / "labs" / "pod-network"
    head, echo, raw, pods, capture = lines(lab / "commands.jsonl")
    assert head == {"lab": "pod-network", "run_id": tape.run_id, "namespace": "default"}
    assert (echo["where"], echo["argv"], echo["exit_status"]) == ("k8s-node1", ["echo", "한"], 3)
    assert (echo["stdout"], echo["stderr"]) == ("한 줄\n", "warned\n")
    assert base64.b64decode(str(raw["stdout_base64"])) == BINARY
    assert (pods["kind"], pods["argv"], pods["stdout"]) == ("read", ["pods"], '{"items": []}')
    assert (capture["pcap"], capture["size"]) == ("request-source-uplink.pcap", len(BINARY))
    assert "stdout" not in capture
    assert (lab / "request-source-uplink.pcap").read_bytes() == BINARY
    assert lines(lab / "verdicts.jsonl") == [
        {"test": "test_it", "claim": "pod-network/one-flow", "outcome": "held", "seen": "한"}
    ]
    load_bundle(root)


def test_every_record_stands_before_the_next_command_runs(tmp_path: Path) -> None:
    tape = recorded(tmp_path, close=False)
    assert len(lines(tmp_path / "labs" / "pod-network" / "commands.jsonl")) == 5
    header = json.loads((tmp_path / "bundle.json").read_text())
    assert header["finished"] is None
    load_bundle(tmp_path)
    tape.close()
    tape.close()


def test_facts_are_added_and_mappings_merged(tmp_path: Path) -> None:
    tape = BundleTape(tmp_path)
    tape.describe(timings={"boot": 2.5}, note="a")
    tape.describe(timings={"build": 1.5}, note="b")
    header = json.loads((tmp_path / "bundle.json").read_text())
    assert header["timings"] == {"boot": 2.5, "build": 1.5}
    assert header["note"] == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.json", "labs"]


def test_a_cluster_error_is_kept_and_raised_on(tmp_path: Path) -> None:
    tape = BundleTape(tmp_path)
    cluster = FakeCluster(tape)
    cluster.say("k8s-node1", "sleep", CommandTimeout("sleep did not end in 1 s"))
    with pytest.raises(CommandTimeout):
        cluster.nodes["k8s-node1"].run("sleep", "9")
    with pytest.raises(ClusterError):
        cluster.get("pods")
    _, slow, read = lines(tmp_path / "labs" / "session" / "commands.jsonl")
    assert slow["failures"] == [
        {"stage": "run", "type": "CommandTimeout", "message": "sleep did not end in 1 s"}
    ]
    assert read["failures"][0]["type"] == "ClusterError"  # type: ignore[index]


def test_an_error_outside_the_known_kinds_is_kept_as_the_nearest(tmp_path: Path) -> None:
    class AgentGone(ClusterError):
        pass

    tape = BundleTape(tmp_path)
    cluster = FakeCluster(tape)
    cluster.objects["pods"] = AgentGone("the agent is gone")
    with pytest.raises(AgentGone):
        cluster.get("pods")
    assert lines(tmp_path / "labs" / "session" / "commands.jsonl")[1]["failures"] == [
        {"stage": "run", "type": "ClusterError", "message": "the agent is gone"}
    ]


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl",
    ],
)
def test_keys_certificates_and_tokens_are_left_out(tmp_path: Path, secret: str) -> None:
    cluster = FakeCluster(BundleTape(tmp_path))
    cluster.say("k8s-node1", "cat", says(f"before {secret} after", secret))
    result = cluster.nodes["k8s-node1"].run("cat", "it")
    assert secret in result.stdout.decode(), "the run itself sees what was said"
    written = (tmp_path / "labs" / "session" / "commands.jsonl").read_bytes()
    assert secret.splitlines()[0].encode() not in written
    assert b"before " + REDACTED + b" after" in written


def test_standard_input_is_not_kept(tmp_path: Path) -> None:
    cluster = FakeCluster(BundleTape(tmp_path))
    cluster.say("k8s-node1", "tee", says("ok"))
    cluster.nodes["k8s-node1"].run("tee", stdin=b"pass phrase")
    assert b"pass phrase" not in (tmp_path / "labs" / "session" / "commands.jsonl").read_bytes()


def test_two_workers_share_a_bundle_and_keep_their_labs_apart(tmp_path: Path) -> None:
    controller = BundleTape(tmp_path)
    workers = [BundleTape(tmp_path, join=True), BundleTape(tmp_path, join=True)]
    for worker in workers:
        cluster = FakeCluster(worker)
        cluster.say("k8s-node1", "hostname", says("k8s-node1"))
        worker.describe_cluster(cluster, Intent())
        with cluster.lab("pause"):
            cluster.nodes["k8s-node1"].run("hostname")
    workers[1].close()
    assert json.loads((tmp_path / "bundle.json").read_text())["finished"] is None
    workers[0].close()
    controller.close()
    assert json.loads((tmp_path / "bundle.json").read_text())["run_id"] == workers[0].run_id
    assert sorted(path.name for path in (tmp_path / "labs").iterdir()) == ["pause", "pause.2"]
    bundle = load_bundle(tmp_path)
    assert bundle.header["finished"]
    assert bundle.recordings["pause"].run_id == workers[0].run_id != workers[1].run_id


@pytest.mark.parametrize("join", [False, True])
def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path: Path, join: bool) -> None:
    tape = BundleTape(tmp_path / "deep" / "bundle", join=join)
    FakeCluster(tape)
    tape.close()
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_does_not_come_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(**asked: object) -> None:
        raise ClusterError("the kernel does not boot")

    monkeypatch.setattr(EmbeddedCluster, "start", start)
    with pytest.raises(ClusterError, match="does not boot"):
        choose.open_cluster("embedded", intent=Intent(), bundle=tmp_path / "kept", progress=lambda step: None)
    assert list(tmp_path.iterdir()) == []


def test_joining_something_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match=r"holds 'thesis.txt'"):
        BundleTape(tmp_path, join=True).describe()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_joining_a_bundle_of_another_format_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path)
    edit("bundle.json", '"format": 1', '"format": 7')(tmp_path)
    with pytest.raises(BundleError, match="bundle format 7"):
        BundleTape(tmp_path, join=True).describe()


def test_of_two_runs_that_found_a_directory_free_one_gets_it(tmp_path: Path) -> None:
    late, early = BundleTape(tmp_path), BundleTape(tmp_path)
    early.describe(note="mine")
    with pytest.raises(BundleError, match="already holds a bundle"):
        late.describe(note="not mine")
    assert json.loads((tmp_path / "bundle.json").read_text())["note"] == "mine"


def test_a_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match=r"holds 'thesis.txt'; name an empty directory"):
        BundleTape(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_run_into_a_bundle_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path)
    with pytest.raises(BundleError, match="already holds a bundle; name an empty directory"):
        BundleTape(tmp_path)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="no bundle can be written there"):
        BundleTape(tmp_path / "file")


@pytest.mark.parametrize("name", ["same.pcap", "../out.pcap"])
def test_a_capture_has_a_file_name_of_its_own(tmp_path: Path, name: str) -> None:
    cluster = FakeCluster(BundleTape(tmp_path))
    cluster.say("k8s-node1", "tcpdump", says())
    cluster.nodes["k8s-node1"].spawn("tcpdump", pcap="same.pcap")
    with pytest.raises(ValueError, match="not a new file name"):
        cluster.nodes["k8s-node1"].spawn("tcpdump", pcap=name)


def test_lab_names_become_directories(tmp_path: Path) -> None:
    tape = BundleTape(tmp_path)
    cluster = FakeCluster(tape)
    cluster.say("k8s-node1", "hostname", says())
    tape.describe_cluster(cluster, Intent())
    with cluster.lab("tests/../test_x.py::test_y"):
        cluster.nodes["k8s-node1"].run("hostname")
        assert tape.token("a b").endswith("-tests-..-test_x.py-test_y-a-b")
    tape.close()
    assert [path.name for path in (tmp_path / "labs").iterdir()] == ["tests-test_x-py-test_y"]
    assert list(load_bundle(tmp_path).recordings) == ["tests/../test_x.py::test_y"]


def test_tokens_are_unique_and_name_lab_and_request() -> None:
    tape = MemoryTape()
    with tape.lab("pause"):
        assert tape.token("request") == f"{tape.run_id}-pause-request"
        assert tape.token("request") == f"{tape.run_id}-pause-request-2"
    assert tape.token("request") == f"{tape.run_id}-session-request"
    assert tape.run_id != MemoryTape().run_id


COMMANDS = "labs/pod-network/commands.jsonl"
PCAP = "labs/pod-network/request-source-uplink.pcap"


def cut(name: str, by: int) -> Callable[[Path], None]:
    return lambda root: os.truncate(root / name, (root / name).stat().st_size - by)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        content = (root / name).read_text()
        assert old in content
        (root / name).write_text(content.replace(old, new, 1))

    return change


def drop_last_line(root: Path) -> None:
    kept = (root / COMMANDS).read_bytes().splitlines(keepends=True)[:-1]
    (root / COMMANDS).write_bytes(b"".join(kept))


def without_cluster(root: Path) -> None:
    header = json.loads((root / "bundle.json").read_text())
    del header["roles"], header["nodes"]
    (root / "bundle.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("breaks", "complaint"),
    [
        pytest.param(lambda root: (root / "bundle.json").unlink(), "no bundle.json in it", id="no-header"),
        pytest.param(cut("bundle.json", 5), "not readable as JSON, cut or damaged", id="header-cut"),
        pytest.param(lambda root: (root / "bundle.json").write_text("[]"), "not a bundle", id="other-json"),
        pytest.param(
            edit("bundle.json", '"format": 1', '"format": 7'),
            f"bundle format 7, but pytest-k8snet {__version__} reads format 1",
            id="other-format",
        ),
        pytest.param(edit("bundle.json", '"records": 4', '"records": 5'), "cut, 4 of 5 records", id="count"),
        pytest.param(edit("bundle.json", '{\n      "records": 4\n    }', "4"), "damaged", id="labs-damaged"),
        pytest.param(without_cluster, "ended before its cluster was up", id="no-cluster"),
        pytest.param(cut(COMMANDS, 3), "cut in line 5", id="line-cut"),
        pytest.param(drop_last_line, "cut, 3 of 4 records are left", id="line-gone"),
        pytest.param(lambda root: os.truncate(root / COMMANDS, 0), "empty, the bundle is cut", id="empty"),
        pytest.param(lambda root: (root / COMMANDS).unlink(), "missing, the bundle is cut", id="lab-gone"),
        pytest.param(edit(COMMANDS, '{"number": 2', '{"number: 2'), "line 3 is damaged", id="line-damaged"),
        pytest.param(edit(COMMANDS, '"number": 2', '"numbers": 2'), "no record", id="no-record"),
        pytest.param(edit(COMMANDS, '{"lab"', '[1]\n{"lab"'), "line 1 is no record", id="no-object"),
        pytest.param(
            edit(COMMANDS, "request-source-uplink.pcap", "../../bundle.json"),
            "no record",
            id="pcap-elsewhere",
        ),
        pytest.param(lambda root: (root / PCAP).unlink(), "missing, the bundle is cut", id="pcap-gone"),
        pytest.param(cut(PCAP, 1), "cut, 8 bytes were written and 7 are left", id="pcap-cut"),
        pytest.param(lambda root: (root / PCAP).write_bytes(b"x" * 8), "SHA-256 differs", id="pcap-replaced"),
    ],
)
def test_a_broken_bundle_is_refused_in_one_line(
    tmp_path: Path, breaks: Callable[[Path], None], complaint: str
) -> None:
    recorded(tmp_path)
    load_bundle(tmp_path)
    breaks(tmp_path)
    with pytest.raises(BundleError, match=complaint.replace(".", r"\.")) as refused:
        load_bundle(tmp_path)
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such directory"):
        load_bundle(tmp_path / "nowhere")


def test_of_a_run_that_was_killed_the_last_line_may_be_cut(tmp_path: Path) -> None:
    recorded(tmp_path, close=False)
    cut(COMMANDS, 3)(tmp_path)
    assert len(load_bundle(tmp_path).recordings["pod-network"].records) == 3
    os.truncate(tmp_path / COMMANDS, 4)
    assert load_bundle(tmp_path).recordings == {}


def test_of_a_run_that_was_killed_other_lines_may_not(tmp_path: Path) -> None:
    recorded(tmp_path, close=False)
    edit(COMMANDS, '{"number": 2', '{"number: 2')(tmp_path)
    with pytest.raises(BundleError, match="line 3 is damaged"):
        load_bundle(tmp_path)


def test_a_record_reads_back_as_it_was_written() -> None:
    record = Record(3, "command", "k8s-node1", ("printf", "한\n"), 1.5, 0.5, 1, BINARY, b"\xff")
    assert Record.from_fields(json.loads(record.line())) == record
    assert record.line().count(b"\n") == 1
