"""Which image runs in the place of which, and what it is told to do there."""

from __future__ import annotations

import pytest

from pytest_k8snet.clusters.images import AGNHOST, PROBE, Images


def test_by_default_the_documents_images_run_and_are_pulled_where_they_are_not_there() -> None:
    made = Images().container({"name": "container", "image": "kubetm/app", "args": ["x"]})
    assert made == {
        "name": "container",
        "image": "kubetm/app",
        "args": ["x"],
        "imagePullPolicy": "IfNotPresent",
    }
    assert Images().probe_image == PROBE


def test_a_manifests_own_pull_policy_stays() -> None:
    assert Images().container({"image": "a/b", "imagePullPolicy": "Always"})["imagePullPolicy"] == "Always"


@pytest.mark.parametrize(
    ("image", "port"),
    [
        ("kubetm/init", 8080),
        ("kubetm/app:latest", 8080),
        ("docker.io/kubetm/p8000", 8000),
        ("kubetm/p8080", 8080),
    ],
)
def test_agnhost_serves_what_the_documents_image_serves(image: str, port: int) -> None:
    images = Images.read(["agnhost"], (), "")
    made = images.container({"name": "c", "image": image, "command": ["node", "app.js"]})
    assert made["image"] == AGNHOST
    assert made["args"] == ["netexec", f"--http-port={port}", "--udp-port=-1"]
    assert "command" not in made


def test_agnhost_stands_in_for_the_documents_images_only() -> None:
    container = {"name": "c", "image": "nginx:1.27", "command": ["nginx"]}
    images = Images.read(["agnhost"], (), "")
    assert images.container(container) == {**container, "imagePullPolicy": "IfNotPresent"}


def test_a_mapping_takes_images_from_a_mirror() -> None:
    mirror = "mirror.example:5000/lab/app:1"
    images = Images.read([f"kubetm/app={mirror}", f"{PROBE}=mirror.example/netshoot:1"], (), "")
    assert images.resolved("docker.io/kubetm/app:latest") == mirror
    assert images.resolved("kubetm/app:2") == "kubetm/app:2"
    assert images.container({"image": "kubetm/app", "command": ["x"]})["command"] == ["x"]
    assert images.probe_image == "mirror.example/netshoot:1"


def test_agnhost_can_come_from_a_mirror_and_leave_a_mapped_image_alone() -> None:
    images = Images.read(["agnhost", f"{AGNHOST}=mirror.example/agnhost:2.53", "kubetm/app=my/app"], (), "")
    assert images.container({"image": "kubetm/init"})["image"] == "mirror.example/agnhost:2.53"
    made = images.container({"image": "kubetm/app"})
    assert (made["image"], "args" in made) == ("my/app", False)


def test_a_named_probe_image_is_used() -> None:
    assert Images.read((), (), "my/tools:1@sha256:" + "a" * 64).probe_image.startswith("my/tools:1@")


def test_pull_secrets_are_names_and_at_most_one_namespace() -> None:
    assert Images.read((), ["regcred"], "").namespace == ""
    images = Images.read((), ["labs/regcred", "labs/other", "labs/regcred"], "")
    assert (images.namespace, images.pull_secrets) == ("labs", ("regcred", "other"))


@pytest.mark.parametrize(
    ("values", "secrets", "probe", "said"),
    [
        (["busybox"], [], "", "'busybox' is neither 'agnhost' nor IMAGE=OTHER"),
        (["kubetm/app="], [], "", "'kubetm/app=': '' is not an image's name"),
        (["kubetm/app=a b"], [], "", "'kubetm/app=a b': 'a b' is not an image's name"),
        (["kubetm/App=x"], [], "", "'kubetm/App' is not an image's name"),
        (["kubetm/app=a", "kubetm/app:latest=b"], [], "", "'kubetm/app:latest' is given twice: 'a' and 'b'"),
        ([], ["a/b/c"], "", "pull secret 'a/b/c' is neither NAME nor NAMESPACE/NAME"),
        ([], ["/x"], "", "pull secret '/x' is neither NAME nor NAMESPACE/NAME"),
        ([], ["Secret"], "", "pull secret 'Secret' is neither NAME nor NAMESPACE/NAME"),
        ([], ["a/x", "b/y"], "", "pull secrets 'a/x', 'b/y' are not of one namespace"),
        ([], [], "not an image", "'not an image': 'not an image' is not an image's name"),
    ],
)
def test_what_can_not_be_used_is_one_line(
    values: list[str], secrets: list[str], probe: str, said: str
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        Images.read(values, secrets, probe)
    assert said in str(raised.value)
