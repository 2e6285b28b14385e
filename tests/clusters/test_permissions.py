"""docs/rbac.yaml grants what preflight asks for, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pytest_k8snet.clusters.kube import permissions
from pytest_k8snet.clusters.kube.permissions import Permission

RBAC = Path(__file__).parents[2] / "docs" / "rbac.yaml"


def granted(*rules: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(verb, group, resource) of RBAC rules."""
    return {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def asked(*groups: Iterable[Permission]) -> set[tuple[str, str, str]]:
    return {(verb, each.group, each.resource) for group in groups for each in group for verb in each.verbs}


def test_the_roles_are_what_preflight_asks_for() -> None:
    run, given, optional = yaml.safe_load_all(RBAC.read_text())
    assert granted(*run["rules"]) == asked(
        permissions.CLUSTER,
        permissions.OWN_NAMESPACE,
        permissions.IN_NAMESPACE,
        permissions.PROBE,
        permissions.CALICO_CRD,
        permissions.CALICO_API,
    )
    assert granted(*given["rules"]) == asked(permissions.GIVEN_NAMESPACE)
    assert granted(*optional["rules"]) == asked(permissions.OPTIONAL)
    assert optional["kind"] == "Role"
    assert {each.namespace for each in permissions.OPTIONAL} == {"kube-system", "calico-system"}
    assert optional["metadata"]["namespace"] == "kube-system"


def test_each_rule_says_why() -> None:
    lines = RBAC.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith("- apiGroups"):
            assert lines[number - 1].lstrip().startswith("# "), line


def test_secrets_are_never_asked_for() -> None:
    assert "secrets" not in RBAC.read_text()
    everything = [each for value in vars(permissions).values() if isinstance(value, tuple) for each in value]
    assert not any(isinstance(each, Permission) and each.resource == "secrets" for each in everything)
