"""Whether a Docker daemon answers on this machine."""

from __future__ import annotations

import shutil
import subprocess

PATIENCE = 5.0  #: seconds; a daemon that is there answers in less than one
#: The names of what answers tell Podman's socket from a Docker daemon. Podman's own ``docker`` command has no
#: such field, and says so with the name of its type.
VERSION = "{{.Server.Version}} {{range .Server.Components}}{{.Name}}; {{end}}"
PODMANS = (b"Podman", b"podman", b"define.Version")


def why_silent() -> str:
    """Why no Docker daemon answers, in a few words; "" where one does. DOCKER_HOST has its say."""
    docker = shutil.which("docker")
    if docker is None:
        return "there is no docker on PATH"
    argv = [docker, "version", "--format", VERSION]
    try:
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    except OSError as error:
        return f"docker can't be run ({error.strerror})"
    except subprocess.TimeoutExpired:
        return f"docker did not answer within {PATIENCE:g} seconds"
    if any(word in result.stdout + result.stderr for word in PODMANS):
        return "what answers as docker is Podman, which kind can't use as Docker"
    # Some versions print an empty version and succeed where no daemon answers.
    return "" if result.returncode == 0 and result.stdout.strip() else "no Docker daemon answers"
