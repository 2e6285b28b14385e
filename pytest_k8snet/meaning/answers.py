"""What a client was told, without the words that differ from machine to machine."""

from __future__ import annotations

from pytest_k8snet.claims.mtu import LARGE
from pytest_k8snet.evidence.http import Exchange
from pytest_k8snet.meaning.roles import LAB_POD


def answer(exchange: Exchange) -> str:
    """ "HTTP 200 by pod-dest": the labs' application names its pod.

    "no answer" has no reason beside it: curl's words change with its version, and what it meets first with
    how long it waits.
    """
    if not exchange.status or exchange.error:
        return f"HTTP {exchange.status}, then cut" if exchange.status else "no answer"
    if exchange.size >= LARGE:
        return f"HTTP {exchange.status}, {LARGE} bytes or more"
    if not exchange.body:
        return f"HTTP {exchange.status}"
    names = pods_named(exchange)
    return f"HTTP {exchange.status}" + (f" by {', '.join(names)}" if names else ", naming no pod of the labs")


def pods_named(exchange: Exchange) -> list[str]:
    """The labs' pods that a body names."""
    return sorted(set(LAB_POD.findall(exchange.body.decode("utf-8", "replace"))))
