"""Listening sockets, from ``ss -H -ltnp`` (``netstat -ltnp`` as the fall-back)."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_k8snet.evidence.packets import IPAddress


@dataclass(frozen=True, slots=True)
class Listener:
    address: IPAddress | None  #: None: every address ("*", "0.0.0.0" and "[::]" keep their value)
    port: int
    processes: tuple[tuple[str, int], ...] = ()  #: (name, pid); empty when the kernel or ss would not say
    device: str | None = None  #: "127.0.0.53%lo" -> "lo"

    @property
    def everywhere(self) -> bool:
        return self.address is None or self.address.is_unspecified

    @property
    def loopback_only(self) -> bool:
        return self.address is not None and self.address.is_loopback
