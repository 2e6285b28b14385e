"""The ``pytest11`` entry point: options and markers; everything else only behind ``--k8snet``.

This module and :mod:`pytest_k8snet.options` are imported by every pytest run in an environment that
has the plugin installed, so they import nothing but pytest and light parts of the standard library.
"""

from __future__ import annotations

import pytest

from pytest_k8snet import options

MARKERS = (
    "pause: lab 1, the pause container and the network namespace it holds (k8snet)",
    "pod_network: lab 2, a request between pods on two nodes, through the overlay (k8snet)",
    "clusterip: lab 3, a request to a service's ClusterIP (k8snet)",
    "nodeport: lab 4, a request from outside to a service's NodePort (k8snet)",
    "outage: what every path loses while the command of --k8snet-watch runs (k8snet)",
    "needs(what): skipped, saying why, where the cluster has no such thing: 'calico' (k8snet)",
    "disruptive: kills or adds containers; deselect with -m 'not disruptive' (k8snet)",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """``--k8snet-fault=list`` prints and is done."""
    faults = config.getoption("k8snet_fault") or ()
    if faults and not config.getoption("k8snet"):
        raise pytest.UsageError("--k8snet-fault: nothing is wrong on purpose without --k8snet; add it")
    if "list" not in faults:
        return None
    from pytest_k8snet.report.faults import listing

    for line in listing():
        print(line)
    return 0


# Before xdist makes its session (it is trylast, as the terminal reporter is) and so before its workers
# are handed the arguments.
def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getoption("k8snet"):
        from pytest_k8snet import session

        session.enable(config)
