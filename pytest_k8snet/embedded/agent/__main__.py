"""Entry point inside the kernel: ``python -I -S .../embedded/agent/__main__.py KERNEL SETTINGS-FILE``.

KERNEL: "uml" or "namespaces". Settings (JSON): ``stream`` ([fd, fd] for namespaces), ``paths`` (where
this package and pyroute2 live).
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any


def main() -> None:
    with open(sys.argv[2]) as handle:
        settings: dict[str, Any] = {"kernel": sys.argv[1], **json.load(handle)}
    sys.path[:0] = settings["paths"]
    from pytest_k8snet.embedded.agent.boot import light_pyroute2, open_stream, prepare

    prepare(settings)
    light_pyroute2()
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
        if sys.argv[1] == "uml":  # as process 1 of a kernel, an ordinary exit would be a panic
            from pytest_k8snet.embedded.agent.syscalls import power_off

            power_off()
        os._exit(0)
