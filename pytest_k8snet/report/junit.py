"""What JUnit's file says beyond pytest's own: properties of each test, and of the run.

An inconclusive claim is a ``<failure>`` like a broken one: it fails the run. Two things tell them apart: the
property ``k8snet_verdict``, and the first word of the failure's message. pytest writes no ``type`` to a
failure and offers no way to; Jenkins and GitLab show none.

The properties of a test are in its ``<testcase>``, where pytest puts them (docs/report.md: who reads them).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_k8snet.report.account import Account
from pytest_k8snet.report.facts import Facts, facts_of
from pytest_k8snet.report.places import named
from pytest_k8snet.settings import Settings

if TYPE_CHECKING:
    from _pytest.junitxml import LogXML


class JUnit:
    """Runs where all reports arrive: pytest writes the file there, whoever ran the tests."""

    def __init__(self, settings: Settings, config: pytest.Config, account: Account) -> None:
        self._settings = settings
        self._config = config
        self._account = account
        self._told: dict[str, dict[str, str]] = {}  #: properties by node id, until its teardown

    # pytest writes what stands on a test's last report: its teardown's, or its own where that fails.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        facts = facts_of(report)
        told = self._told.setdefault(report.nodeid, {})
        if facts is not None:
            told |= {name: value for name, value in self._properties(facts) if value}
        report.user_properties += told.items()
        if report.when == "teardown":
            del self._told[report.nodeid]
        if facts is not None and "::" not in report.nodeid and (xml := self._xml()) is not None:
            # A test without a file (a change since the baseline): pytest would leave its class empty, which
            # GitLab shows as the suite.
            suite, _, name = report.nodeid.partition("/")
            for attribute, value in (("classname", suite), ("name", name)):
                xml.node_reporter(report).add_attribute(attribute, value)

    # Before pytest's own writes the file.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        xml = self._xml()
        if xml is None:
            return
        settings = self._settings
        about = settings.subject if self._account.clusters else ""
        for name, value in (
            ("k8snet_provider", settings.provider),
            ("k8snet_subject", about),
            ("k8snet_cluster", "; ".join(self._account.clusters)),
            ("k8snet_bundle", self._named(settings.bundle)),
            ("k8snet_replay", self._named(settings.replay)),
            ("k8snet_baseline", self._named(settings.baseline)),
            ("k8snet_report", self._named(settings.report)),
        ):
            if value:
                xml.add_global_property(name, value)

    def _properties(self, facts: Facts) -> Iterator[tuple[str, str]]:
        yield "k8snet_sentence", facts["sentence"]
        if facts["verdict"]:
            yield "k8snet_nodes", ",".join(facts["nodes"])
            yield "k8snet_cause", facts["judged"].get("diagnosis", "")
        kept = self._settings.bundle or self._settings.replay
        if kept is not None and facts["cluster"]:
            yield "k8snet_bundle", f"{self._named(kept)}/labs/{facts['lab']}"

    def _xml(self) -> LogXML | None:
        """pytest's writer, None without ``--junitxml``: what the fixtures record_testsuite_property and
        record_xml_attribute reach for, which no test of a distributed run can (pytest#7767)."""
        from _pytest.junitxml import xml_key

        return self._config.stash.get(xml_key, None)

    def _named(self, path: Path | None) -> str:
        return named(path, self._config.invocation_params.dir) if path is not None else ""
