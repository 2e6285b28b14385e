"""Every fault by its name, in the order of the labs."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_k8snet.embedded.faults import observer, overlay, sandbox, services
from pytest_k8snet.embedded.faults.changes import Fault

FAULTS: tuple[Fault, ...] = (*sandbox.FAULTS, *overlay.FAULTS, *services.FAULTS, *observer.FAULTS)
BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in FAULTS}
