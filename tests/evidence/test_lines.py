from __future__ import annotations

import pytest

from pytest_k8snet.evidence.lines import lines, port


def test_lines_end_at_line_feeds_only() -> None:
    assert lines("a\vb\x0cc\u2028d\r\n\n  \n\te \n") == ["a\vb\x0cc\u2028d", "e"]
    assert lines(b"name \xff\xfe\nnext") == ["name \\xff\\xfe", "next"]
    assert lines("") == []


@pytest.mark.parametrize(("word", "number"), [("0", 0), ("80", 80), ("31080", 31080), ("65535", 65535)])
def test_port_numbers(word: str, number: int) -> None:
    assert port(word) == number


@pytest.mark.parametrize(
    "word", ["", "65536", "99999", "-1", "+80", "8_0", " 80", "80.0", "http", "*", "000080", "٨٠", "²"]
)
def test_words_that_are_no_port_number(word: str) -> None:
    with pytest.raises(ValueError, match="is no port number"):
        port(word)
