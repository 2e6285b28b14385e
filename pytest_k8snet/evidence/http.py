"""One HTTP exchange as curl reports it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pytest_k8snet.evidence.errors import ParseError
from pytest_k8snet.evidence.jsontree import Tree

WHAT = "curl -w '\\n%{json}'"
#: How the report that probes ask for begins. curl writes the status with three digits, and JSON knows no
#: 000; before 7.75 it knows no exitcode, and writes nothing in its place.
_HEAD = re.compile(r'\{"http_code":0*(?P<status>[0-9]+),"exitcode":(?P<exit>[0-9]*),')
_UNTOLD = -1
_ERROR = re.compile(rb"^curl: \((?P<exit>[0-9]{1,3})\) (?P<message>.+?)\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What ``curl`` said of one request. ``status`` 0 means that no answer came (``error`` says why)."""

    url: str
    status: int
    body: bytes = b""
    size: int = 0  #: bytes of body received, also where the body was thrown away
    local: tuple[IPv4Address | IPv6Address, int] | None = None  #: client address and port
    remote: tuple[IPv4Address | IPv6Address, int] | None = None
    error: str = ""

    @property
    def answered(self) -> bool:
        """A whole answer of the 2xx class (an answer cut by a time-out has its status, and an error)."""
        return 200 <= self.status < 300 and not self.error


def parse_curl(content: str | bytes, exit_status: int = 0, stderr: bytes = b"") -> tuple[Exchange, ...]:
    """Every request of one ``curl -s -S -o - -w '\\n%{json}' URL...`` (curl >= 7.29), in order.

    Standard output then holds, per URL, the body, a line feed and curl's JSON report, the next body
    right after it. A body may hold anything, even such a report: what counts is the report that says
    as many bytes as stand before it. With ``-o /dev/null`` no body stands there and ``size`` alone
    tells. Raises ParseError for output that does not add up to its last byte.

    A curl before 7.75 reports neither exit code nor error: its own ``exit_status`` and what it said on
    ``stderr`` are then those of the last request, where ``--fail-early`` lets the first failure end it.
    """
    raw = content.encode() if isinstance(content, str) else content
    reports = []
    start = 0
    while raw[start:].strip():
        report, body, start = _next_report(raw, start)
        reports.append((report, body))
    if not reports:
        raise ParseError(WHAT, "curl printed nothing")
    last = len(reports) - 1
    return tuple(
        _exchange(report, body, *((exit_status, stderr) if number == last else (0, b"")))
        for number, (report, body) in enumerate(reports)
    )


def _next_report(raw: bytes, start: int) -> tuple[Tree, bytes, int]:
    # Latin-1 keeps one character per byte, so that positions in the text are positions in the bytes.
    text = raw.decode("latin-1")
    position = start - 1
    while (position := raw.find(b"\n{", position + 1)) >= 0:
        found = _report_at(text, position + 1)
        if found is None:
            continue
        value, end = found
        thrown_away = position == start
        if "size_download" in value and (thrown_away or value["size_download"] == position - start):
            return Tree(WHAT, "$", value), raw[start:position], end
    raise ParseError(WHAT, "no report that fits the body before it: output cut, or curl < 7.29", raw[start:])


def _report_at(text: str, start: int) -> tuple[Any, int] | None:
    """The JSON value at ``start`` and where it ends; None where there is none."""
    decoder = json.JSONDecoder()
    try:
        if match := _HEAD.match(text, start):
            head = f'{{"http_code":{match["status"]},"exitcode":{match["exit"] or _UNTOLD},'
            repaired = head + text[match.end() :]
            _, length = decoder.raw_decode(repaired)
            document, end = repaired[:length], match.end() + length - len(head)
        else:
            _, end = decoder.raw_decode(text, start)
            document = text[start:end]
        return json.loads(document.encode("latin-1")), end
    except (ValueError, RecursionError):
        return None


def _exchange(report: Tree, body: bytes, process_status: int, stderr: bytes) -> Exchange:
    status = (report.get("http_code") or report["response_code"]).integer()
    exit_status = report["exitcode"].integer()
    error = report.text_or("errormsg", "")
    if exit_status == _UNTOLD:
        exit_status = process_status
        said = [m["message"] for m in _ERROR.finditer(stderr) if int(m["exit"]) == exit_status]
        error = said[-1].decode(errors="backslashreplace") if said else ""
    if exit_status and not error:
        error = f"curl ended with exit status {exit_status}"
    if not status and not error:
        error = "no HTTP answer"
    return Exchange(
        url=report.text_or("url_effective", "") or report["url"].text(),
        status=status,
        body=body,
        size=report["size_download"].integer(),
        local=_end(report, "local"),
        remote=_end(report, "remote"),
        error=error,
    )


def _end(report: Tree, side: str) -> tuple[IPv4Address | IPv6Address, int] | None:
    """One end of the connection; None where curl never had one (it prints "" and 0)."""
    if not report.text_or(f"{side}_ip", ""):
        return None
    return report[f"{side}_ip"].address(), report[f"{side}_port"].integer()
