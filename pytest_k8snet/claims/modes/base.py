"""What claims ask of kube-proxy's rules on a node, whichever mode wrote them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pytest_k8snet.claims.connections import NewConnection
from pytest_k8snet.claims.walks import Walk
from pytest_k8snet.evidence.objects import Service
from pytest_k8snet.evidence.observations import NodeEvidence
from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import Reading

#: Ends of a walk where the packet goes no further.
REFUSED = frozenset({"DROP", "REJECT"})


class ProxyMode(ABC):
    """All methods raise NotObserved where the node's evidence of this mode was not read."""

    look: str  #: the command by which a person looks at it

    @abstractmethod
    def reading(self, node: NodeEvidence) -> Reading[Any]:
        """What a verdict on the node's rules rests on."""

    @abstractmethod
    def walk(
        self, node: NodeEvidence, packet: NewConnection, hook: str = "PREROUTING", *, mark: int = 0
    ) -> Walk:
        """The packet's way from a hook of netfilter's."""

    @abstractmethod
    def names(self, service: Service) -> list[str]:
        """What each port of the service is called in the rules."""

    @abstractmethod
    def entered(self, result: Walk, service: Service) -> str | None:
        """The name of the service's port that the walk came by; None where it came by none."""

    @abstractmethod
    def missing(self, node: NodeEvidence, service: Service, node_port: int | None) -> str | None:
        """What of the service (and of its NodePort, where one is asked for) the node lacks."""

    @abstractmethod
    def claim(self, node: NodeEvidence, result: Walk, port: int) -> str:
        """What gives a NodePort to the service in a walk; empty where nothing does."""

    @abstractmethod
    def unclaimed(self, node: NodeEvidence, address: IPAddress, port: int) -> str | None:
        """Why a request to a NodePort on this address is not kube-proxy's; None where it is."""

    @abstractmethod
    def refuses(self, node: NodeEvidence, packet: NewConnection, result: Walk) -> bool | None:
        """Whether the node drops or rejects a packet to itself that ``result`` did not translate; None: not
        known."""

    @abstractmethod
    def source(self, node: NodeEvidence) -> str:
        """Where the rules were read, for the text of a verdict: "; read from nf_tables"."""
