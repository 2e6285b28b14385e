"""Entry point inside the kernel: ``python -I -S .../embedded/agent/__main__.py JSON-SETTINGS-FILE``.

Settings: ``kernel`` ("uml" or "namespaces"), ``stream`` ([fd, fd] for namespaces), ``paths`` (where
this package and pyroute2 live).
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any


def main() -> None:
    with open(sys.argv[1]) as handle:
        settings: dict[str, Any] = json.load(handle)
    sys.path[:0] = settings["paths"]
    from pytest_k8snet.embedded.agent.boot import open_stream, prepare

    prepare(settings)
    from pytest_k8snet.embedded.agent.stream import Agent  # pyroute2 reads /proc while it is imported

    read, write = open_stream(settings)
    Agent(settings, read, write).serve()


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        # As process 1 of User-Mode Linux an ordinary exit would be a kernel panic.
        from pytest_k8snet.embedded.agent.boot import end

        end()
