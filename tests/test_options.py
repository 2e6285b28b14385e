"""Options and ini values: how they become settings, and the one line that a bad value gets."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from pytest_k8snet import options, paths
from pytest_k8snet import settings as settings_module
from pytest_k8snet.clusters import choose
from pytest_k8snet.clusters.asked import Asked
from pytest_k8snet.intent import Intent
from pytest_k8snet.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent


def read(pytester: pytest.Pytester, *args: str, ini: str = "") -> Settings:
    if ini:
        pytester.makeini(f"[pytest]\n{ini}\n")
    return settings_module.read(pytester.parseconfig("--k8snet", *args))


def refusal(pytester: pytest.Pytester, *args: str, ini: str = "") -> str:
    with pytest.raises(pytest.UsageError) as caught:
        read(pytester, *args, ini=ini)
    (message,) = caught.value.args
    assert "\n" not in message
    return str(message)


def test_the_document_is_the_default(pytester: pytest.Pytester) -> None:
    settings = read(pytester)
    assert (settings.provider, settings.kernel, settings.bundle, settings.replay) == (
        "embedded",
        "auto",
        None,
        None,
    )
    assert settings.intent() == Intent()
    assert "auto" in settings.why


def test_ini_values_are_overridden_by_options(pytester: pytest.Pytester) -> None:
    ini = "k8snet_uplink = eth0\nk8snet_node_port = 31090\nk8snet_masquerade_all = yes\nk8snet_kernel = uml"
    settings = read(pytester, "--k8snet-uplink=eth1", ini=ini)
    assert settings.kernel == "uml"
    assert settings.intent() == Intent(uplink="eth1", node_port=31090, masquerade_all=True)


def test_every_intent_can_be_declared_to_a_recorded_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = {"master": "a", "node1": "b", "node2": "c"}
    monkeypatch.setattr(paths, "_recorded_roles", lambda replay: roles)
    settings = read(
        pytester,
        "--k8snet-replay=run",
        "--k8snet-pod-cidr=10.244.0.0/16",
        "--k8snet-interface-prefix=veth",
        "--k8snet-role=master=a",
        "--k8snet-role=node1=b",
        ini="k8snet_encapsulation = vxlan-always\nk8snet_proxy_mode = ipvs\nk8snet_service_cidr = 10.0.0.0/16"
        "\nk8snet_roles =\n    node2 = c",
    )
    assert settings.provider == "replay"
    assert settings.replay == pytester.path / "run"
    recorded = Intent(uplink="eth7", node_port=31099)
    assert settings.intent(recorded) == Intent(
        encapsulation="vxlan-always",
        pod_cidr=IPv4Network("10.244.0.0/16"),
        service_cidr=IPv4Network("10.0.0.0/16"),
        uplink="eth7",
        interface_prefix="veth",
        proxy_mode="ipvs",
        node_port=31099,
        roles={"master": "a", "node1": "b"},
    )


def test_roles_from_ini(pytester: pytest.Pytester) -> None:
    settings = read(pytester, ini="k8snet_roles =\n    master = k8s-master\n    node1=k8s-node1")
    assert settings.intent().roles == {"master": "k8s-master", "node1": "k8s-node1"}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--k8snet-provider=docker"], "--k8snet-provider: 'docker' is not a provider; choose one of auto, "),
        (["--k8snet-provider="], "--k8snet-provider: '' is not a provider"),
        (["--k8snet-provider=kubeconfig"], "--k8snet-provider: name the cluster with --k8snet-context NAME"),
        (["--k8snet-kubeconfig=/dev/null"], "--k8snet-kubeconfig: '/dev/null' is not a file"),
        (["--k8snet-context=a", "--k8snet-kubeconfig=gone"], "--k8snet-kubeconfig: 'gone' is not a file"),
        (["--k8snet-context="], "--k8snet-context: needs a name"),
        (["--k8snet-context=a", "--k8snet-replay=b"], "--k8snet-context: a replay reaches no cluster"),
        (
            ["--k8snet-context=a", "--k8snet-provider=kind"],
            "--k8snet-context: provider 'kind' has no use for it, only kubeconfig",
        ),
        (["--k8snet-keep"], "--k8snet-keep: provider 'embedded' has no use for it, only kind and kubeconfig"),
        (
            ["--k8snet-context=a", "--k8snet-node-access=telnet"],
            "--k8snet-node-access: 'telnet' is not a way",
        ),
        (["--k8snet-context=a", "--k8snet-timeout=soon"], "--k8snet-timeout: 'soon' is not a number of sec"),
        (["--k8snet-context=a", "--k8snet-timeout=1"], "--k8snet-timeout: '1' is not between 10 seconds and"),
        (["--k8snet-context=a", "--k8snet-timeout=nan"], "--k8snet-timeout: 'nan' is not between"),
        (["--k8snet-provider=kind", "--k8snet-profile=old"], "--k8snet-profile: 'old' is not a profile"),
        (
            ["--k8snet-provider=kind", "--k8snet-calico-version=latest"],
            "--k8snet-calico-version: 'latest' is not a version such as",
        ),
        (
            ["--k8snet-provider=kind", "--k8snet-calico-manifest=gone.yaml"],
            "--k8snet-calico-manifest: 'gone.yaml' is not a file",
        ),
        (
            ["--k8snet-provider=replay"],
            "--k8snet-provider: provider 'replay' needs a bundle: --k8snet-replay",
        ),
        (
            ["--k8snet-provider=embedded", "--k8snet-replay=x"],
            "--k8snet-provider: provider 'embedded' replays",
        ),
        (["--k8snet-kernel=linux"], "--k8snet-kernel: 'linux' is not a kernel; choose one of auto, "),
        (["--k8snet-replay="], "--k8snet-replay: needs a directory"),
        (["--k8snet-bundle="], "--k8snet-bundle: needs a directory"),
        (["--k8snet-replay=a", "--k8snet-bundle=b"], "--k8snet-bundle: a replayed run is not recorded again"),
        (["--k8snet-replay=gone"], "--k8snet-replay: "),
        (["--k8snet-report="], "--k8snet-report: needs a file"),
        (["--k8snet-report=."], "--k8snet-report: "),
        (["--k8snet-report=/proc/run.html"], "--k8snet-report: /proc/run.html can't be written: "),
        ([f"--k8snet-report={'x' * 300}"], "--k8snet-report: "),
        (["--k8snet-report=/dev/full"], "--k8snet-report: /dev/full is no ordinary file; name one"),
        (["--k8snet-report=a", "--k8snet-bundle=./a"], "--k8snet-report: "),
        (["--k8snet-report=kept/bundle.json"], "--k8snet-report: "),
        (["--k8snet-baseline="], "--k8snet-baseline: needs a directory"),
        (["--k8snet-baseline=gone"], "--k8snet-baseline: "),
        (
            ["--k8snet-baseline=a", "--k8snet-bundle=./a"],
            "--k8snet-baseline: ",
        ),
        (
            ["--k8snet-baseline-allow=mtu/*: jumbo frames"],
            "--k8snet-baseline-allow: without effect: there is no --k8snet-baseline",
        ),
        (
            ["--k8snet-baseline=a", "--k8snet-baseline-allow=mtu/*"],
            "--k8snet-baseline-allow: 'mtu/*' has no reason",
        ),
        (["--k8snet-watch= "], "--k8snet-watch: needs a command"),
        (["--k8snet-watch=true", "--k8snet-replay=a"], "--k8snet-watch: a replay changes nothing"),
        (["--k8snet-outage-budget-ms=300"], "--k8snet-outage-budget-ms: without effect: there is no"),
        (
            ["--k8snet-watch=true", "--k8snet-outage-budget-ms=1.5s"],
            "--k8snet-outage-budget-ms: '1.5s' is not a number of milliseconds",
        ),
        (["--k8snet-encapsulation=gre"], "--k8snet-encapsulation: 'gre' is not an encapsulation"),
        (["--k8snet-encapsulation=none"], "--k8snet-encapsulation: 'none': the reference network"),
        (["--k8snet-proxy-mode=ebpf"], "--k8snet-proxy-mode: 'ebpf' is not a proxy mode"),
        (["--k8snet-proxy-mode=ipvs"], "--k8snet-proxy-mode: 'ipvs': the reference network"),
        (["--k8snet-pod-cidr=20.96.0.0"], "--k8snet-pod-cidr: '20.96.0.0' has no prefix length"),
        (["--k8snet-pod-cidr=20.96.0.1/12"], "--k8snet-pod-cidr: not a CIDR: 20.96.0.1/12 has host bits set"),
        (["--k8snet-pod-cidr=x/12"], "--k8snet-pod-cidr: not a CIDR"),
        (["--k8snet-pod-cidr=10.0.0.0/8"], "--k8snet-pod-cidr: pods' range 10.0.0.0/8 and services' range"),
        (
            ["--k8snet-service-cidr=20.0.0.0/8"],
            "--k8snet-service-cidr: pods' range 20.96.0.0/12 and services'",
        ),
        (
            ["--k8snet-pod-cidr=fd00::/48"],
            "--k8snet-pod-cidr: 'fd00::/48': the reference network is IPv4 only",
        ),
        (
            ["--k8snet-pod-cidr=20.109.131.0/25"],
            "--k8snet-pod-cidr: the reference network has a block of pods on each node, and"
            " 20.109.131.0/25 has no room for 3 /26 blocks",
        ),
        (["--k8snet-service-cidr=fd00::/112"], "--k8snet-service-cidr: 'fd00::/112': the reference network"),
        (["--k8snet-uplink=sixteen-letters-"], "--k8snet-uplink: 'sixteen-letters-' can't be"),
        (["--k8snet-uplink=eth0"], "--k8snet-uplink: 'eth0': the uplink of the reference network is 'eth1'"),
        (["--k8snet-interface-prefix="], "--k8snet-interface-prefix: '' can't be"),
        (["--k8snet-interface-prefix=a/b"], "--k8snet-interface-prefix: 'a/b' can't be"),
        (["--k8snet-interface-prefix=vethx"], "--k8snet-interface-prefix: 'vethx': the reference network"),
        (["--k8snet-node-port=29999"], "--k8snet-node-port: '29999' is not a port in 30000-32767"),
        (["--k8snet-node-port=32768"], "--k8snet-node-port: '32768' is not a port in 30000-32767"),
        (["--k8snet-node-port=http"], "--k8snet-node-port: 'http' is not a port in 30000-32767"),
        (["--k8snet-node-port=²"], "--k8snet-node-port: '²' is not a port in 30000-32767"),
        (
            ["--k8snet-fault=pool-nver"],
            "--k8snet-fault: 'pool-nver' is not a fault; did you mean 'pool-never'",
        ),
        (["--k8snet-fault=qqqqq"], "--k8snet-fault: 'qqqqq' is not a fault (--k8snet-fault=list prints"),
        (["--k8snet-fault=pool-never"] * 2, "--k8snet-fault: 'pool-never' is given twice"),
        (
            ["--k8snet-replay=x", "--k8snet-fault=pool-never"],
            "--k8snet-fault: 'pool-never': provider 'replay' can't be wrong on purpose",
        ),
        (
            ["--k8snet-node-port=31081", "--k8snet-fault=pool-never"],
            "--k8snet-fault: the faults are made for the document's names and addresses: leave --k8snet-",
        ),
        (["--k8snet-role=node1"], "--k8snet-role: 'node1' is not ROLE=NODE"),
        (["--k8snet-role=node1="], "--k8snet-role: 'node1=' is not ROLE=NODE"),
        (
            ["--k8snet-role=node3=x"],
            "--k8snet-role: 'node3=x': 'node3' is not a role; choose one of master, ",
        ),
        (
            ["--k8snet-role=node1=a", "--k8snet-role=node2=a"],
            "--k8snet-role: node 'a' can't be both node1 and node2",
        ),
        (["--k8snet-role=node1=a", "--k8snet-role=node1=b"], "--k8snet-role: role 'node1' is given twice"),
        (["--k8snet-role=node1=Mine"], "--k8snet-role: 'node1=Mine': 'Mine' can't be a host's name"),
        (
            ["--k8snet-role=node1=k8s-node2"],
            "--k8snet-role: 'node1=k8s-node2': another node of the reference network has that name",
        ),
        (
            ["--k8snet-role=node1=mine", "--k8snet-fault=pool-never"],
            "--k8snet-fault: the faults are made for the document's names and addresses: leave --k8snet-role",
        ),
    ],
)
def test_a_bad_option(pytester: pytest.Pytester, args: list[str], line: str) -> None:
    assert refusal(pytester, *args).startswith(line)


def test_a_report_a_baseline_and_a_watch(pytester: pytest.Pytester) -> None:
    kept = REPOSITORY / "tests" / "bundles" / "healthy"
    ini = (
        "k8snet_outage_budget_ms = 500\nk8snet_baseline_allow =\n    mtu/*: jumbo\n    version/*: the upgrade"
    )
    args = [f"--k8snet-baseline={kept}", "--k8snet-report=out/run.html", "--k8snet-watch=make upgrade"]
    settings = read(pytester, *args, ini=ini)
    assert settings.report == pytester.path / "out" / "run.html"
    assert not settings.report.parent.exists()
    assert settings.baseline == kept
    assert [entry.glob for entry in settings.allowed] == ["mtu/*", "version/*"]
    assert (settings.watch, settings.outage_budget) == ("make upgrade", 500)


def test_a_home_that_no_shell_put_in(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pytester.path / "home"))
    settings = read(pytester, "--k8snet-report=~/run.html", "--k8snet-bundle=~/kept")
    assert settings.report == pytester.path / "home" / "run.html"
    assert settings.bundle == pytester.path / "home" / "kept"


def test_what_a_clone_s_ini_file_can_not_name() -> None:
    """What is read and written, the cluster, and above all what is run: the command line's alone."""
    without = {setting.name for setting in options.SETTINGS if not setting.ini}
    assert without >= {"bundle", "replay", "report", "baseline", "watch", "context", "kubeconfig"}


def test_ini_values_of_a_baseline_wait_for_one(pytester: pytest.Pytester) -> None:
    assert read(pytester, ini="k8snet_outage_budget_ms = 500\nk8snet_baseline_allow = a: b").watch == ""


@pytest.mark.parametrize(
    ("ini", "line"),
    [
        ("k8snet_provider = docker", "k8snet_provider (tox.ini): 'docker' is not a provider"),
        ("k8snet_encapsulation = gre", "k8snet_encapsulation (tox.ini): 'gre' is not an encapsulation"),
        ("k8snet_node_port = 80", "k8snet_node_port (tox.ini): '80' is not a port in 30000-32767"),
        ("k8snet_masquerade_all = perhaps", "k8snet_masquerade_all (tox.ini): "),
        ("k8snet_pod_cidr =", "k8snet_pod_cidr (tox.ini): '' has no prefix length"),
        ("k8snet_roles =\n    node1=a\n    node2=a", "k8snet_roles (tox.ini): node 'a' can't be both"),
        ("k8snet_uplink = eth0", "k8snet_uplink (tox.ini): 'eth0': the uplink of the reference network"),
        ("k8snet_baseline_allow =\n    mtu/*", "k8snet_baseline_allow (tox.ini): 'mtu/*' has no reason"),
        ("k8snet_outage_budget_ms = soon", "k8snet_outage_budget_ms (tox.ini): 'soon' is not a number"),
    ],
)
def test_a_bad_ini_value(pytester: pytest.Pytester, ini: str, line: str) -> None:
    assert refusal(pytester, ini=ini).startswith(line)


def test_a_number_in_toml(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nk8snet_node_port = 80\n")
    assert refusal(pytester).startswith("k8snet_node_port (pyproject.toml): ")


def test_a_bundle_goes_into_a_new_or_an_empty_directory(pytester: pytest.Pytester) -> None:
    pytester.mkdir("empty")
    assert read(pytester, "--k8snet-bundle=empty").bundle == pytester.path / "empty"
    assert read(pytester, "--k8snet-bundle=new/deep").bundle == pytester.path / "new/deep"
    assert not (pytester.path / "new").exists()


@pytest.mark.parametrize("content", ["notes.txt", "bundle.json"])
def test_a_bundle_overwrites_nothing(pytester: pytest.Pytester, content: str) -> None:
    (pytester.mkdir("full") / content).write_text(json.dumps({"format": 1}))
    assert refusal(pytester, "--k8snet-bundle=full").startswith("--k8snet-bundle: ")


def test_a_bundle_needs_a_directory(pytester: pytest.Pytester) -> None:
    (pytester.path / "file").write_text("")
    assert "is not a directory" in refusal(pytester, "--k8snet-bundle=file")
    assert "can't be written to: Not a directory" in refusal(pytester, "--k8snet-bundle=file/inside")


@pytest.mark.parametrize("directory", ["/proc/foo", "/proc/foo/deep", "new/" + "x" * 256])
def test_a_bundle_that_can_not_be_written(pytester: pytest.Pytester, directory: str) -> None:
    assert refusal(pytester, f"--k8snet-bundle={directory}").startswith("--k8snet-bundle: ")
    assert list(pytester.path.iterdir()) == []


def test_a_trial_of_the_bundle_leaves_nothing_behind(pytester: pytest.Pytester) -> None:
    pytester.mkdir("empty")
    for directory in ("empty", "empty/new/deep", "new/deep", "new/../other"):
        read(pytester, f"--k8snet-bundle={directory}")
        assert [path.name for path in pytester.path.rglob("*")] == ["empty"]


def test_a_run_that_only_collects_tries_no_bundle(pytester: pytest.Pytester) -> None:
    assert read(pytester, "--k8snet-bundle=/proc/foo", "--collect-only").bundle == Path("/proc/foo")


@pytest.mark.parametrize(
    ("asked", "replay", "chosen"),
    [
        ("auto", None, "embedded"),
        ("embedded", None, "embedded"),
        ("auto", "run", "replay"),
        ("replay", "run", "replay"),
    ],
)
def test_the_provider_and_why(asked: str, replay: str | None, chosen: str) -> None:
    provider, why = choose.provider(asked, Path(replay) if replay else None, Asked())
    assert provider == chosen
    assert why


def test_every_option_stands_in_the_help(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest_inprocess("--help").stdout.str()
    for setting in options.SETTINGS:
        assert setting.option in text
        assert not setting.ini or setting.key in text


def test_the_faults_are_listed_with_what_they_break(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--k8snet", "--k8snet-fault=list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "second-sandbox",
            "    a second pause container of pod-pause still runs",
            "    breaks: pause/one-sandbox",
            "unknown-match",
            "    inconclusive: clusterip/rules-lead-to-pod, nodeport/rules-conntrack-wire",
        ]
    )
    assert not [line for line in result.outlines if "collected" in line or "test session" in line]
    assert not result.errlines


@pytest.mark.parametrize("name", ["list", "pool-never"])
def test_a_fault_is_refused_where_the_plugin_is_not_switched_on(pytester: pytest.Pytester, name: str) -> None:
    result = pytester.runpytest_subprocess(f"--k8snet-fault={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.errlines[0] == "ERROR: --k8snet-fault: nothing is wrong on purpose without --k8snet; add it"
