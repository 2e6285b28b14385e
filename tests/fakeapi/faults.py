"""What goes wrong on the way, by script; and a count of all requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.fakeapi.statuses import Json


@dataclass(frozen=True)
class Request:
    verb: str  #: "GET", "POST", "PUT", "PATCH", "DELETE"; "WATCH" for a GET with watch=true
    path: str  #: without the query
    query: Mapping[str, str]
    headers: Mapping[str, str]  #: names in title case: "Content-Type"
    body: Json


@dataclass
class Fault:
    """One thing that happens to requests of ``verb`` on ``path`` (both may be patterns: "*")."""

    verb: str
    path: str
    status: int = 0  #: answered instead of doing anything
    message: str = ""  #: of that answer; what the real server says unless given
    reason: str = ""
    body: Json | bytes | None = None  #: the whole answer instead: a Status made elsewhere, or no JSON at all
    retry_after: int | None = None
    reset: bool = False  #: the connection is reset, nothing was done
    lost: bool = False  #: the request is carried out and its answer lost
    cut: bool = False  #: half of the answer (or of a watch's next line), then the connection ends
    error_event: Json | None = None  #: a watch's next line is ERROR with this Status
    hold: threading.Event | None = None  #: the request waits for this (or for the fake's end) first
    hook: Callable[[Request], None] | None = None  #: called first; may raise :class:`~.statuses.Refused`
    times: int | None = 1  #: how many requests it hits, None for all
    after: int = 0  #: how many pass before
    hits: int = field(default=0, init=False)

    def takes(self, request: Request) -> bool:
        return fnmatchcase(request.verb, self.verb) and fnmatchcase(request.path, self.path)


class Faults:
    """Faults in the order in which they were told; the first that fits a request and is left takes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[Fault] = []
        self.requests: Counter[tuple[str, str]] = Counter()  #: (verb, path) -> how often
        self.log: list[Request] = []

    def tell(self, fault: Fault) -> Fault:
        with self._lock:
            self._told.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._told.clear()

    def of(self, request: Request) -> Fault | None:
        """Count ``request`` and return what shall happen to it."""
        with self._lock:
            self.requests[(request.verb, request.path)] += 1
            self.log.append(request)
            for fault in self._told:
                if not fault.takes(request):
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.times is None or fault.hits < fault.times:
                    fault.hits += 1
                    return fault
        return None

    def held(self) -> list[threading.Event]:
        """What requests wait for: set at the end, so that no thread is left."""
        with self._lock:
            return [fault.hold for fault in self._told if fault.hold]
