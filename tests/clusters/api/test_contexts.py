"""Kubeconfigs: what is read, and what is said of those that can't be, without their secrets."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pytest_k8snet.clusters.api.contexts import configuration
from pytest_k8snet.clusters.base import ClusterError
from tests.clusters.api.conftest import Write, entries

SECRET = "s3cret"


def error(path: Path | None, context: str = "lab") -> str:
    with pytest.raises(ClusterError) as caught:
        configuration(path, context)
    said = str(caught.value)
    assert SECRET not in said
    assert "\n" not in said
    return said


def changed(section: str, entry: dict[str, Any]) -> dict[str, Any]:
    made = entries("https://api:6443", {"token": SECRET})
    made[f"{section}s"][0][section] = entry
    return made


def test_a_context_that_is_not_the_current_one(kubeconfig: Write) -> None:
    made = configuration(kubeconfig(entries("https://api:6443/")), "lab")
    assert made.host == "https://api:6443"
    assert made.auth_settings()["BearerToken"]["value"] == "Bearer s3cret"


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert error(path) == f"kubeconfig {path}: no such file (--k8snet-kubeconfig)"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("users: [\n  token: *s3cret", "is not YAML (line 2, column 10)"),
        ("a: b\n\tc: s3cret", "is not YAML (line 2, column 1)"),
        ("", "is not a kubeconfig, or empty"),
        ("s3cret", "is not a kubeconfig, or empty"),
        ("[s3cret]", "is not a kubeconfig, or empty"),
        ("contexts: [s3cret]", "is not a kubeconfig, or empty"),
        ("contexts: [{name: s3cret, context: 1}, {token: s3cret}]", "is not a kubeconfig, or empty"),
    ],
)
def test_what_is_no_kubeconfig(kubeconfig: Write, content: str, said: str) -> None:
    path = kubeconfig(content)
    assert error(path) == f"kubeconfig {path} {said}"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"a: \xff\xfe")
    assert error(path).startswith(f"kubeconfig {path} is not YAML")


def test_a_directory(tmp_path: Path) -> None:
    assert error(tmp_path) == f"kubeconfig {tmp_path}: Is a directory"


def test_no_such_context_names_those_there_are(kubeconfig: Write) -> None:
    path = kubeconfig(entries("https://api"))
    assert error(path, "prod") == f"kubeconfig {path} has no context prod; it has lab, another"
    path = kubeconfig("apiVersion: v1\nkind: Config\n")
    assert error(path) == f"kubeconfig {path} has no context lab; it has none"


@pytest.mark.parametrize(
    ("section", "entry", "said"),
    [
        ("context", {"cluster": "gone", "user": "lab-user"}, "there is no gone in clusters ("),
        ("context", {"user": "lab-user"}, "an entry lacks cluster ("),
        (
            "cluster",
            {"server": "https://api", "certificate-authority-data": "s3cret="},
            "its entries can't be used (Error, ",
        ),
        ("cluster", {"tls-server-name": "api"}, "its cluster has no server that begins with https:// ("),
        ("cluster", {"server": "k8s:6443"}, "its cluster has no server that begins with https:// ("),
        ("cluster", ["s3cret"], "its entries can't be used (AttributeError, "),
        ("user", ["s3cret"], "its entries can't be used (ValueError, "),
        ("user", {"client-certificate-data": "s3cret"}, "its entries can't be used (Error, "),
        ("user", {"tokenFile": "/nowhere/s"}, "/nowhere/s: No such file or directory ("),
        ("user", {"client-certificate": "/nowhere/c"}, "/nowhere/c: no such file ("),
        (
            "user",
            {"exec": {"args": ["s3cret"]}},
            "its credential plugin exec gave no credentials: exec: ",
        ),
    ],
)
def test_entries_that_cannot_be_used(
    kubeconfig: Write, section: str, entry: dict[str, Any], said: str
) -> None:
    assert error(kubeconfig(changed(section, entry))).startswith(f"kubeconfig context lab: {said}")


def test_a_user_that_is_not_there_is_nobody_in_particular(kubeconfig: Write) -> None:
    made = changed("context", {"cluster": "lab-cluster", "user": "gone"})
    assert not configuration(kubeconfig(made), "lab").api_key


def test_the_environment_names_several_files(
    kubeconfig: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = entries("https://api")
    users = kubeconfig({"users": whole.pop("users")}, "users")
    rest = kubeconfig(whole, "rest")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(tmp_path / "gone"), str(users), str(rest)]))
    assert configuration(None, "lab").api_key
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert error(None) == "kubeconfig ~/.kube/config: no such file (--k8snet-kubeconfig)"


def plugin(tmp_path: Path, script: str) -> dict[str, Any]:
    path = tmp_path / "login"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path)}}


def test_credentials_of_a_plugin(kubeconfig: Write, tmp_path: Path) -> None:
    answer = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
        ' "status": {"token": "fresh"}}'
    )
    user = plugin(tmp_path, f"echo '{answer}'")
    made = configuration(kubeconfig(entries("https://api", user)), "lab")
    assert made.auth_settings()["BearerToken"]["value"] == "Bearer fresh"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo Please log in >&2; exit 3", "exec: process returned 3. Please log in"),
        ("echo s3cret", "exec: failed to decode process output: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_a_plugin_that_fails(kubeconfig: Write, tmp_path: Path, script: str, said: str) -> None:
    user = plugin(tmp_path, script)
    told = error(kubeconfig(entries("https://api", user)))
    assert told == (
        f"kubeconfig context lab: its credential plugin {tmp_path}/login gave no credentials: {said}"
    )


def test_a_plugin_that_is_not_installed(kubeconfig: Write) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/login"}}
    assert error(kubeconfig(entries("https://api", user))).endswith(
        "its credential plugin /nowhere/login gave no credentials:"
        " [Errno 2] No such file or directory: '/nowhere/login'"
    )


def test_a_login_that_the_client_does_not_know(kubeconfig: Write) -> None:
    user = {"auth-provider": {"name": "azure", "config": {"token": SECRET}}}
    assert error(kubeconfig(entries("https://api", user))) == (
        "kubeconfig context lab: its credential plugin azure gave no credentials"
    )
