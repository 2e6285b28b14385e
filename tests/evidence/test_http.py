from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.http import Exchange, parse_curl
from tests.evidence.samples import sample


def report(size: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "errormsg": None,
        "exitcode": 0,
        "http_code": 200,
        "local_ip": "20.109.131.5",
        "local_port": 35096,
        "remote_ip": "20.111.156.72",
        "remote_port": 8080,
        "response_code": 200,
        "size_download": size,
        "url_effective": "http://20.111.156.72:8080/hostname",
    }
    fields.update(changes)
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


def test_three_requests_of_a_real_curl() -> None:
    answered, missing, refused = parse_curl(sample("curl.txt"))
    assert answered == Exchange(
        url="http://127.0.0.1:18999/hostname",
        status=200,
        body=b"pod-dest\n",
        size=9,
        local=answered.local,
        remote=(ip_address("127.0.0.1"), 18999),
    )
    assert answered.answered
    assert (missing.status, missing.size, missing.answered) == (404, 335, False)
    assert missing.body.startswith(b"<!DOCTYPE HTML>\n")
    assert refused == Exchange(
        "http://127.0.0.1:1/",
        0,
        error="Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
    )


def test_a_body_that_was_thrown_away() -> None:
    (exchange,) = parse_curl(sample("curl-discarded.txt"))
    assert (exchange.body, exchange.size, exchange.answered) == (b"", 9, True)


def test_a_report_inside_a_body_is_body() -> None:
    for size in (99, 3, 0):  # what the report within says: more than, or less than, stands before it
        body = b'text\n{"a": 1}\n' + report(size) + b"\n{open\n{]"
        (exchange,) = parse_curl(body + b"\n" + report(len(body)))
        assert exchange.body == body


def test_an_answer_cut_by_a_time_out_is_no_answer() -> None:
    (exchange,) = parse_curl(b"half\n" + report(4, exitcode=28, errormsg="Operation timed out"))
    assert (exchange.status, exchange.error, exchange.answered) == (200, "Operation timed out", False)


@pytest.mark.parametrize(
    ("status", "answered"),
    [(199, False), (200, True), (204, True), (299, True), (300, False), (404, False), (503, False)],
)
def test_only_the_2xx_class_answers(status: int, answered: bool) -> None:
    (exchange,) = parse_curl(b"\n" + report(0, http_code=status))
    assert exchange.answered == answered


def test_errors_are_never_empty() -> None:
    (silent,) = parse_curl(b"\n" + report(0, http_code=0, exitcode=52))
    assert silent.error == "curl ended with exit status 52"
    (closed,) = parse_curl(b"\n" + report(0, http_code=0))
    assert closed.error == "no HTTP answer"


def test_older_and_newer_names() -> None:
    (exchange,) = parse_curl(b"\n" + report(0, http_code=..., url_effective=..., url="http://x/") + b"\n")
    assert (exchange.status, exchange.url) == (200, "http://x/")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "printed nothing"),
        (b"\n", "printed nothing"),
        (b"pod-dest\n\n%{json}", "no report"),
        (b"pod-dest\n" + report(9), "no report"),
        (b"pod-dest\n\n" + report(9)[:-1], "no report"),
        (b"\n" + report(0) + b"rest", "no report"),
        (b"\n" + report(0, exitcode=...), "no 'exitcode'"),
        (b"\n" + report(0, http_code=..., response_code=...), "no 'response_code'"),
        (b"\n" + report(0, url_effective=...), "no 'url'"),
        (b"\n" + report(0, remote_ip="node1"), "an IP address"),
        (b"\n" + report(0, remote_port=...), "no 'remote_port'"),
        (b"\n" + report(0, size_download="0"), "expected a number"),
        (b'\n{"size_download": ' + b"[" * 100_000, "no report"),
        (b'\n{"size_download": 0, "x": "\xff"}', "no report"),
    ],
)
def test_output_that_does_not_add_up(content: bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_curl(content)


@given(st.lists(st.binary(), min_size=1, max_size=4))
def test_bodies_come_back_whatever_they_hold(bodies: list[bytes]) -> None:
    printed = b"".join(body + b"\n" + report(len(body)) for body in bodies)
    assert [exchange.body for exchange in parse_curl(printed)] == bodies


@given(st.binary())
def test_arbitrary_bytes_give_exchanges_or_a_parse_error(content: bytes) -> None:
    for whole in (content, b"\n{" + content):
        try:
            parse_curl(whole)
        except ParseError:
            continue


def old(status: str, size: int, body: bytes = b"") -> bytes:
    """What a curl before 7.75 makes of the report that probes ask for: two of its variables are not there."""
    said = (
        f'{{"http_code":{status},"exitcode":,"errormsg":"","url_effective":"http://20.111.156.72:8080/hostname",'
        f'"size_download":{size},"local_ip":"20.109.131.5","local_port":35096,'
        '"remote_ip":"20.111.156.72","remote_port":8080}'
    )
    return body + b"\n" + said.encode()


UNKNOWN = b"curl: unknown --write-out variable: 'exitcode'\ncurl: unknown --write-out variable: 'errormsg'\n"
REFUSED = b"curl: (7) Failed connect to 20.111.156.72:8080; Connection refused\n"


def test_a_curl_before_7_75() -> None:
    (exchange,) = parse_curl(old("200", 9, b"pod-dest\n"), 0, UNKNOWN)
    assert (exchange.status, exchange.body, exchange.error) == (200, b"pod-dest\n", "")
    (refused,) = parse_curl(old("000", 0), 7, UNKNOWN + REFUSED)
    assert refused.status == 0
    assert refused.error == "Failed connect to 20.111.156.72:8080; Connection refused"
    (cut,) = parse_curl(old("200", 4, b"pod-"), 28, UNKNOWN + b"curl: (28) Operation timed out\r\n")
    assert (cut.answered, cut.error) == (False, "Operation timed out")
    (silent,) = parse_curl(old("200", 0), 56, UNKNOWN + REFUSED)
    assert silent.error == "curl ended with exit status 56", "another's words are not its own"


def test_only_the_last_request_of_an_older_curl_can_have_failed() -> None:
    both = old("200", 3, b"ab\n") + old("000", 0)
    first, last = parse_curl(both, 7, UNKNOWN * 2 + REFUSED)
    assert (first.answered, first.error) == (True, "")
    assert "Connection refused" in last.error
    first, last = parse_curl(old("000", 0) + old("200", 3, b"ab\n"), 0, UNKNOWN * 2 + REFUSED)
    assert (first.error, last.answered) == ("no HTTP answer", True)


def test_what_a_newer_curl_reports_counts() -> None:
    (exchange,) = parse_curl(b"\n" + report(0), 7, REFUSED)
    assert exchange.error == ""


def test_a_body_that_looks_like_an_older_report() -> None:
    trap = old("000", 7, b"text")
    (exchange,) = parse_curl(old("200", len(trap), trap), 0, UNKNOWN)
    assert exchange.body == trap
