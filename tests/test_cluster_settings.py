"""Options of the providers kind and kubeconfig, pytest-kind's own and testinfra's among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_k8snet import settings as settings_module
from pytest_k8snet.clusters.asked import Asked, KindOptions
from pytest_k8snet.intent import Intent
from pytest_k8snet.settings import Settings


def read(pytester: pytest.Pytester, *args: str, ini: str = "") -> Settings:
    if ini:
        pytester.makeini(f"[pytest]\n{ini}\n")
    return settings_module.read(pytester.parseconfig("--k8snet", *args))


def test_nothing_asked(pytester: pytest.Pytester) -> None:
    assert read(pytester, "--k8snet-provider=kind").asked == Asked()


def test_a_cluster_that_exists(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("kube").touch()
    settings = read(
        pytester,
        "--k8snet-context=lab",
        "--k8snet-kubeconfig=kube",
        "--k8snet-node-access=ssh",
        "--ssh-config=ssh",
        "--ssh-identity-file=key",
        "--ssh-extra-args=-J jump",
        "--k8snet-timeout=90",
        "--k8snet-keep",
    )
    assert settings.provider == "kubeconfig"
    assert settings.asked == Asked(
        context="lab",
        kubeconfig=pytester.path / "kube",
        access="ssh",
        ssh_config=pytester.path / "ssh",
        ssh_identity=pytester.path / "key",
        ssh_extra="-J jump",
        keep=True,
        timeout=90,
    )


def test_a_cluster_that_exists_has_its_own_pod_range(pytester: pytest.Pytester) -> None:
    assert read(pytester, "--k8snet-context=lab").intent() == Intent(pod_cidr=None)
    # Not compared with the document's range of services, which this cluster need not have.
    declared = read(pytester, "--k8snet-context=lab", "--k8snet-pod-cidr=10.96.0.0/16").intent()
    assert str(declared.pod_cidr) == "10.96.0.0/16"


def test_two_declared_ranges_of_a_cluster_may_not_overlap(pytester: pytest.Pytester) -> None:
    args = ("--k8snet-context=lab", "--k8snet-pod-cidr=10.96.0.0/16", "--k8snet-service-cidr=10.96.0.0/12")
    with pytest.raises(pytest.UsageError, match="overlap"):
        read(pytester, *args)


def test_disruptive_claims_of_a_cluster_that_exists_are_asked_for(pytester: pytest.Pytester) -> None:
    assert not read(pytester, "--k8snet-context=lab").disruptive
    assert read(pytester, "--k8snet-context=lab", "--k8snet-disruptive").disruptive
    assert read(pytester, "--k8snet-context=lab", ini="k8snet_disruptive = true").disruptive
    assert read(pytester, "--k8snet-provider=kind").disruptive


def test_pytest_kind_s_options(pytester: pytest.Pytester) -> None:
    args = (
        "--cluster-name=mine",
        "--keep-cluster",
        "--kubeconfig=out",
        "--kind-image=kindest/node:v1.30.0",
        "--kind-bin=bin/kind",
        "--kind-kubectl-bin=/opt/kubectl",
    )
    assert read(pytester, "--k8snet-provider=kind", *args).asked.kind == KindOptions(
        name="mine",
        keep=True,
        kubeconfig=pytester.path / "out",
        image="kindest/node:v1.30.0",
        kind=pytester.path / "bin/kind",
        kubectl=Path("/opt/kubectl"),
    )


def test_without_pytest_kind_its_defaults_hold(pytester: pytest.Pytester) -> None:
    assert read(pytester, "-p", "no:pytest-kind", "--k8snet-provider=kind").asked.kind == KindOptions()


def test_versions_of_calico(pytester: pytest.Pytester) -> None:
    ini = "k8snet_calico_version = 3.30.3\nk8snet_profile = document\nk8snet_calico_manifest = calico.yaml"
    pytester.path.joinpath("calico.yaml").touch()
    asked = read(pytester, "--k8snet-provider=kind", ini=ini).asked
    assert (asked.calico_version, asked.profile) == ("v3.30.3", "document")
    assert asked.calico_manifest == pytester.path / "calico.yaml"


def test_an_ini_file_may_serve_several_providers(pytester: pytest.Pytester) -> None:
    ini = "k8snet_profile = document\nk8snet_probe_image = mirror/probe:1\nk8snet_images =\n    agnhost"
    assert read(pytester, "--k8snet-provider=embedded", ini=ini).provider == "embedded"


@pytest.mark.parametrize("key", ["k8snet_context", "k8snet_kubeconfig"])
def test_an_ini_file_can_not_name_a_cluster(pytester: pytest.Pytester, key: str) -> None:
    pytester.makeini(f"[pytest]\n{key} = prod\n")
    result = pytester.runpytest_inprocess("--k8snet", "--strict-config")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert key in result.stderr.str()


def test_images(pytester: pytest.Pytester) -> None:
    ini = "k8snet_images =\n    kubetm/app=mirror/app:1\nk8snet_image_pull_secrets =\n    one\n    two"
    images = read(
        pytester, "--k8snet-context=lab", "--k8snet-probe-image=mirror/probe:1", ini=ini
    ).asked.images
    assert images.pull_secrets == ("one", "two")
    assert images.probe == "mirror/probe:1"


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--k8snet-images=kubetm/app", "'kubetm/app' is neither 'agnhost' nor IMAGE=OTHER"),
        ("--k8snet-image-pull-secret=a b", "pull secret 'a b' is neither NAME nor NAMESPACE/NAME"),
        ("--k8snet-probe-image=Bad Image", "'Bad Image'"),
        ("--k8snet-probe-image=", "needs a name"),
    ],
)
def test_images_that_can_not_be_read(pytester: pytest.Pytester, option: str, problem: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"^{option.partition('=')[0]}: .*{re.escape(problem)}"):
        read(pytester, "--k8snet-context=lab", option)


def test_a_namespace_s_pull_secret_is_for_one_run_on_a_cluster_that_exists(
    pytester: pytest.Pytester,
) -> None:
    secret = "--k8snet-image-pull-secret=lab/registry"
    assert read(pytester, "--k8snet-context=lab", secret).asked.images.namespace == "lab"
    with pytest.raises(pytest.UsageError, match="a new kind cluster holds no secret"):
        read(pytester, "--k8snet-provider=kind", secret)
