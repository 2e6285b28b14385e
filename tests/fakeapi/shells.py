"""The little of a shell that the plugin's own wrapping needs: nothing is run on this machine."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.fakeapi.execution import CannotStart, Exec, Output, Processes

#: nsenter with the host's mount namespace: what follows is looked for on the node, not in the pod.
_HOST = re.compile(r"^nsenter( \S+)* (-m|--mount|-a|--all)( \S+)* -- ")


@dataclass(frozen=True)
class Program:
    """A program that is to be run, with what runs it."""

    call: Exec
    argv: tuple[str, ...]
    on_host: bool  #: in the node's own namespaces; else in the container


Programs = Callable[[Program], Output]
#: Whether the place of ``program`` (its ``on_host``) has a program of this name.
Has = Callable[[Program, str], bool]


class Shell:
    """An exec callback: sees through nsenter and ``sh -c``, and runs what is meant by ``programs``.

    It knows the scripts that end in ``exec "$@"`` (with an announced process id before it), those that
    signal a process, and those that look for programs by ``command -v``; it fails for any other.
    """

    def __init__(self, processes: Processes, has: Has, programs: Programs) -> None:
        self._processes = processes
        self._has = has
        self._programs = programs

    def __call__(self, call: Exec) -> Output:
        return self._run(Program(call, call.argv, on_host=False))

    def _run(self, program: Program) -> Output:
        argv = program.argv
        if entered := _HOST.match(" ".join(argv) + " "):
            rest = argv[entered[0].count(" ") :]
            return self._run(Program(program.call, rest, on_host=True))
        if argv[:2] == ("sh", "-c"):
            return self._script(Program(program.call, argv[4:], program.on_host), argv[2])
        if not self._has(program, argv[0]):
            raise CannotStart.not_found(argv[0])
        return self._programs(program)

    def _script(self, program: Program, script: str) -> Output:
        if "command -v" in script:
            missing = [name for name in program.argv if not self._has(program, name)]
            return Output(exit_status=127 if missing else 0)
        if "kill -s" in script:
            pid, name = (*program.argv, "")[:2]
            number = signal.Signals[f"SIG{name}"] if name else signal.SIGKILL
            if self._processes.signal(int(pid), number):
                return Output()
            return Output(stderr=f"sh: 0: kill: ({pid}) - No such process\n".encode(), exit_status=1)
        if not script.endswith('exec "$@"'):
            raise NotImplementedError(f"the fake's shell does not know the script {script!r}")
        if announced := re.search(r'echo "([^"]*)\$\$([^"]*)" >&2', script):
            program.call.stderr(f"{announced[1]}{program.call.pid}{announced[2]}\n".encode())
        try:
            return self._run(program)
        except CannotStart:
            said = f"sh: 1: exec: {program.argv[0]}: not found\n"
            return Output(stderr=said.encode(), exit_status=127)
