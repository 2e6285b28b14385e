"""What an observation means: all facts of a lab.

A session that is compared with a kept run hands each observation to :func:`facts_of` as its fixture makes
it; the kept run's are made again from its bundle. Both sides are read by this one version, so that what
differs is the network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_k8snet.claims.verdict import Outcome
from pytest_k8snet.evidence.observations import (
    ClusterIPLab,
    NodePortLab,
    PauseLab,
    PodNetworkLab,
    Restart,
    Spread,
)
from pytest_k8snet.evidence.reading import Reading
from pytest_k8snet.intent import Intent
from pytest_k8snet.meaning import overlay, sandbox, services
from pytest_k8snet.meaning.comparison import Fact

#: Names of the observations, as bundles call their labs.
PAUSE, RESTART = "pause", "pause-restart"
POD_NETWORK, CLUSTERIP, SPREAD, NODEPORT = "pod-network", "clusterip", "clusterip-spread", "nodeport"


def facts_of(observation: object, intent: Intent, lab: str = "") -> tuple[Fact, ...]:
    """All facts of a PauseLab, PodNetworkLab, ClusterIPLab, NodePortLab, Reading[Restart] or Reading[Spread].

    A reading that failed makes facts with a reason, never an error. ``lab`` is asked for only where a failed
    Reading does not tell of what it is one: "pause-restart" or "clusterip-spread"; without it such a reading
    means nothing.

    TypeError for anything else.
    """
    name, found = _facts(observation, intent, lab)
    return tuple(replace(fact, labs=(name,)) for fact in found)


def _facts(observation: object, intent: Intent, lab: str) -> tuple[str, Iterable[Fact]]:
    match observation:
        case PauseLab():
            return PAUSE, sandbox.of_pause(observation, intent)
        case PodNetworkLab():
            return POD_NETWORK, overlay.of_pod_network(observation, intent)
        case ClusterIPLab():
            return CLUSTERIP, services.of_clusterip(observation, intent)
        case NodePortLab():
            return NODEPORT, services.of_nodeport(observation, intent)
        case Reading(value=Restart()):
            return RESTART, sandbox.of_restart(observation)
        case Reading(value=Spread()):
            return SPREAD, services.of_spread(observation)
        case Reading() if lab == RESTART:
            return RESTART, sandbox.of_restart(observation)
        case Reading() if lab == SPREAD:
            return SPREAD, services.of_spread(observation)
        case Reading(value=None):
            return lab, ()
    raise TypeError(f"nothing is known of what {type(observation).__name__} means")


def unobserved(lab: str, why: str) -> Fact:
    """Stands for all facts of a lab that could not be observed at all: its pod or service is not there."""
    return Fact(f"lab/{lab}", "", why, labs=(lab,))


def verdict_fact(claim_id: str, outcome: Outcome | str) -> Fact:
    """ "verdict/pod-network/one-flow": "held", "broken" or "inconclusive"."""
    return Fact(f"verdict/{claim_id}", outcome.value if isinstance(outcome, Outcome) else outcome)
