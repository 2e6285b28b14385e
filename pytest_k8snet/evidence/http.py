"""One HTTP exchange as curl reports it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


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
        return 200 <= self.status < 300
