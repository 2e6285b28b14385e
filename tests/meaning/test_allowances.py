"""Lines of k8snet_baseline_allow."""

from __future__ import annotations

import re

import pytest

from pytest_k8snet.meaning.allowances import allowed
from pytest_k8snet.meaning.comparison import Allowed


def test_a_glob_and_a_reason_which_may_hold_colons() -> None:
    assert allowed(["mtu/*: new VPC", " ttl/node2 :see https://example.org/a:b "]) == (
        Allowed("mtu/*", "new VPC"),
        Allowed("ttl/node2", "see https://example.org/a:b"),
    )
    assert allowed([]) == ()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["mtu/*"], "'mtu/*' has no reason; write GLOB: REASON, as in 'mtu/*: new VPC'"),
        (["mtu/*:  "], "'mtu/*:' has no reason; write GLOB: REASON, as in 'mtu/*: new VPC'"),
        ([": new VPC"], "': new VPC' has no glob; write GLOB: REASON, as in 'mtu/*: new VPC'"),
        ([""], "'' has no glob; write GLOB: REASON, as in 'mtu/*: new VPC'"),
        (["mtu/*: a", "ttl: b", "mtu/*: c"], "'mtu/*' is given twice: 'a' and 'c'"),
    ],
)
def test_a_line_that_allows_nothing_is_refused(lines: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        allowed(lines)
