"""The page's file: when it is written, when what lies there stays, and what is said where it can't be."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pytest_k8snet import session
from pytest_k8snet.report.writing import PageFile
from tests.plugin import stand_in
from tests.plugin.conftest import lab_file

BODY = """
def test_a(lab, judge): judge(broken("IPIP", "plain"))
def test_b(lab, judge): judge(held("a", "b"))
def test_end(lab, judge): pytest.exit("enough")
"""
EARLIER = "an earlier run's page"


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("--k8snet", "--k8snet-report=out/run.html", *args)


def page(pytester: pytest.Pytester) -> str:
    """The page; it alone is in its directory."""
    (file,) = (pytester.path / "out").iterdir()
    assert file.name == "run.html"
    return file.read_text()


@pytest.fixture
def earlier(pytester: pytest.Pytester, my_lab: Path) -> None:
    pytester.makeconftest(stand_in.CONFTEST)  # xdist's workers need it, too
    lab_file(my_lab, BODY)
    pytester.mkdir("out").joinpath("run.html").write_text(EARLIER)


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["my_lab", "-k", "test_a or test_b"], pytest.ExitCode.TESTS_FAILED),
        (["my_lab", "-x"], pytest.ExitCode.TESTS_FAILED),
        (["my_lab"], pytest.ExitCode.INTERRUPTED),
        (["my_lab", "-k", "nothing"], pytest.ExitCode.NO_TESTS_COLLECTED),
        (["my_lab", "-p", "no:terminal", "-x"], pytest.ExitCode.TESTS_FAILED),
        (["my_lab", "-n", "2", "-k", "test_a or test_b"], pytest.ExitCode.TESTS_FAILED),
    ],
)
def test_a_new_page_takes_the_place_of_an_earlier_one(
    pytester: pytest.Pytester, earlier: None, args: list[str], status: pytest.ExitCode
) -> None:
    result = run(pytester, *args)
    assert result.ret == status
    assert page(pytester).startswith("<!DOCTYPE html>")
    if "no:terminal" not in args:
        assert "report: out/run.html" in result.outlines


@pytest.mark.parametrize(
    "args", [["nowhere"], ["my_lab", "--k8snet-node-port=1"], ["my_lab", "--collect-only"]]
)
def test_a_run_that_runs_nothing_leaves_the_earlier_one(
    pytester: pytest.Pytester, earlier: None, args: list[str]
) -> None:
    run(pytester, *args)
    assert page(pytester) == EARLIER


@pytest.mark.parametrize("quiet", [[], ["--no-summary"]])
def test_a_full_disk_is_said_and_fails_the_run(
    pytester: pytest.Pytester, my_lab: Path, monkeypatch: pytest.MonkeyPatch, quiet: list[str]
) -> None:
    lab_file(my_lab, "def test_b(lab, judge): judge(held('a', 'b'))")
    pytester.mkdir("out").joinpath("run.html").write_text(EARLIER)

    class Full(type(pytester.path)):  # type: ignore[misc]
        def write_text(self, text: str, encoding: str) -> None:
            super().write_text(text[:10], encoding=encoding)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(session, "PageFile", lambda file, *rest: PageFile(Full(file), *rest))
    result = run(pytester, "my_lab", *quiet)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*report: *out/run.html could not be written: No space left on device"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert page(pytester) == EARLIER


def test_a_name_that_can_not_be_made(pytester: pytest.Pytester, my_lab: Path) -> None:
    lab_file(my_lab, "def test_b(lab, judge): judge(held('a', 'b'))")
    name = "x" * 247 + ".html"  # as long as a name may be, but for what is put to it until it is whole
    result = pytester.runpytest_inprocess("--k8snet", f"--k8snet-report={name}", "my_lab")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["report: none: *could not be written: File name too long"])
