"""One context of a kubeconfig, read by the Kubernetes client's own loader (exec plugins, OIDC, files).

The loader's error texts can hold whole entries of the file with their tokens, so none is passed on as it is.
"""

# mypy: allow-untyped-calls
# (the client's loader has no types)

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from pytest_k8snet.clusters.api.refusals import one_line
from pytest_k8snet.clusters.base import ClusterError

DEFAULT = "~/.kube/config"


def files_of(kubeconfig: Path | None) -> str:
    """The files to read as the loader takes them: separated by ``os.pathsep``, the first one wins."""
    return str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or DEFAULT


def configuration(kubeconfig: Path | None, context: str) -> Configuration:
    """The client's configuration for ``context``; credential plugins are run.

    ``kubeconfig``: None for ``$KUBECONFIG`` (several files are merged as kubectl does) or ~/.kube/config.

    Raises :class:`ClusterError`, without any secret of the file.
    """
    files = files_of(kubeconfig)
    merged = _merged(files)
    known = _contexts(merged, files)
    if not context:
        raise ClusterError(f"no context is named; kubeconfig {files} has {_listed(known)} (--k8snet-context)")
    if context not in known:
        raise ClusterError(f"kubeconfig {files} has no context {context}; it has {_listed(known)}")
    made = Configuration()
    try:
        cluster, user = _entries(merged, context)
        server, proxy = str(cluster.get("server") or ""), cluster.get("proxy-url")
        with _logged_errors() as said:
            loader = KubeConfigLoader(
                config_dict=merged.config,
                active_context=context,
                config_base_path=None,
                # A refreshed OIDC login is written back, as kubectl does: the old refresh token is void.
                config_persister=merged.save_changes,
            )
            loader.load_and_set(made)
    except ConfigException as error:
        raise ClusterError(f"kubeconfig context {context}: {_safe(error)} ({files})") from None
    except OSError as error:
        raise ClusterError(f"kubeconfig context {context}: {_of_the_system(error)} ({files})") from None
    except Exception as error:
        # Bad base64, a list where a mapping belongs, a login server's answer: whatever the loader met.
        raise ClusterError(
            f"kubeconfig context {context}: its entries can't be used ({type(error).__name__}, {files})"
        ) from None
    if not re.match(r"https?://[^/]", server):
        raise ClusterError(
            f"kubeconfig context {context}: its cluster has no server that begins with https:// ({files})"
        )
    if proxy:  # clients before 30 pass over it
        made.proxy = proxy
    _check_credentials(made, context, user, said)
    return made


def _merged(files: str) -> Any:
    try:
        merged = KubeConfigMerger(files)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ClusterError(f"kubeconfig {files} is not YAML{at}") from None
    except UnicodeDecodeError:
        raise ClusterError(f"kubeconfig {files} is not YAML (not UTF-8)") from None
    except OSError as error:
        raise ClusterError(f"kubeconfig {_of_the_system(error)}") from None
    except (ConfigException, AttributeError, KeyError, TypeError):
        raise ClusterError(f"kubeconfig {files} is not a kubeconfig, or empty") from None
    if merged.config is None:
        raise ClusterError(f"kubeconfig {files}: no such file (--k8snet-kubeconfig)")
    return merged


def _contexts(merged: Any, files: str) -> list[str]:
    try:
        return [entry.value["name"] for entry in merged.config["contexts"].value]
    except (ConfigException, KeyError, TypeError):
        raise ClusterError(f"kubeconfig {files} is not a kubeconfig, or empty") from None


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _entries(merged: Any, context: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The context's cluster and user as the file has them."""
    entry = merged.config["contexts"].get_with_name(context)["context"]
    cluster = merged.config["clusters"].get_with_name(entry["cluster"])["cluster"]
    name = entry.safe_get("user")
    user = merged.config["users"].get_with_name(name, safe=True) if name else None
    return cluster.value, dict((user.value.get("user") or {}) if user else {})


def _check_credentials(made: Any, context: str, user: dict[str, Any], said: list[str]) -> None:
    """The loader goes on without credentials where a plugin fails, and only logs it."""
    if made.api_key or made.cert_file:
        return
    for way in ("exec", "auth-provider"):
        if way in user:
            plugin = user[way].get("command") or user[way].get("name") or way
            why = f": {one_line(said[-1])}" if said else ""
            raise ClusterError(
                f"kubeconfig context {context}: its credential plugin {plugin} gave no credentials{why}"
            )


def _safe(error: ConfigException) -> str:
    text = str(error)
    if missing := re.search(r"Expected key ([\w.-]+) in", text):
        return f"an entry lacks {missing[1]}"
    if missing := re.search(r"Expected object with name (\S+) in \S*?(clusters|users) list", text):
        return f"there is no {missing[1]} in {missing[2]}"
    if text.startswith("File does not exist: "):
        return one_line(text.removeprefix("File does not exist: ")) + ": no such file"
    return "its entries can't be used"


def _of_the_system(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Errors that the loader logs instead of raising them."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    keep = Keep(logging.ERROR)
    logging.getLogger().addHandler(keep)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(keep)
