"""docker, kind and ip as programs on PATH, whose daemon is a JSON file; run as a script, this is one of them.

What they print where something is wrong is what the real ones print (Docker 20.10 and 28, kind 0.27).
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

Json = dict[str, Any]

STATE = "K8SNET_FAKE_DAEMON"  #: environment: the file


class Refusal(Exception):
    """The program ends with status 1 and this on standard error, after ``said`` on standard output."""

    def __init__(self, why: str, said: str = "") -> None:
        super().__init__(why)
        self.said = said


def main(name: str, argv: list[str]) -> NoReturn:
    if name == "docker" and argv[:2] == ["exec", "-i"] and argv[3] != "timeout":
        os.execvp(argv[3], argv[3:])  # a command of a node: any program of this machine
    status, said, complained = run(name, argv)
    sys.stdout.write(said)
    sys.stderr.write(complained)
    sys.stdout.flush()
    sys.exit(status)


def run(name: str, argv: list[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    complained = io.StringIO()
    with state() as daemon:
        daemon["calls"].append([name, *argv])
        try:
            said, status = {"docker": docker, "kind": kind, "ip": ip}[name](daemon, argv), 0
        except Refusal as refusal:
            said, status = refusal.said, 1
            complained.write(f"{refusal}\n")
    return status, said, complained.getvalue()


@contextmanager
def state() -> Iterator[Json]:
    """One at a time; one that is killed meanwhile changes nothing."""
    path = os.environ[STATE]
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(path) as file:
            daemon = json.load(file)
        yield daemon
        new = f"{path}.{os.getpid()}"
        with open(new, "w") as file:
            json.dump(daemon, file)
        os.replace(new, path)


def docker(daemon: Json, argv: list[str]) -> str:
    if daemon["silent"]:
        raise Refusal(daemon["silent"])
    first, rest = argv[0], argv[1:]
    what: dict[str, Callable[[], str]] = {
        "version": lambda: "28.2.2\n",
        "info": lambda: json.dumps(daemon["info"]) + "\n",
        "context": lambda: "unix:///var/run/docker.sock\n",
        "ps": lambda: "".join(f"{each['Name']}\n" for each in containers(daemon, rest)),
        "network": lambda: network(daemon, rest),
        # None ended and stayed: containers of ours are removed when they end.
        "container": lambda: "" if rest[0] == "ls" else inspect(daemon["containers"], rest[1:], "container"),
        "image": lambda: image(daemon, rest[-1]),
        "pull": lambda: pull(daemon, rest[-1]),
        "save": lambda: save(rest),
        "exec": lambda: inside(daemon, *((rest[1], rest[2:]) if rest[0] == "-i" else (rest[0], rest[1:]))),
        "rm": lambda: remove(daemon, rest[-1]),
    }
    return what[first]()


def save(argv: list[str]) -> str:
    Path(argv[argv.index("-o") + 1]).write_text(argv[-1])
    return ""


def containers(daemon: Json, flags: list[str]) -> list[Json]:
    label, _, value = flags[flags.index("--filter") + 1].removeprefix("label=").partition("=")
    return [each for each in daemon["containers"] if each["Labels"].get(label) == value]


def remove(daemon: Json, name: str) -> str:
    daemon["containers"] = [each for each in daemon["containers"] if each["Name"] != name]
    for each in daemon["networks"]:
        each["Containers"] = {key: value for key, value in each["Containers"].items() if key != name}
    return name + "\n"


def network(daemon: Json, argv: list[str]) -> str:
    doing, rest = argv[0], argv[1:]
    networks = daemon["networks"]
    if doing == "ls":
        if "--filter" in rest:
            label = rest[rest.index("--filter") + 1].removeprefix("label=")
            networks = [each for each in networks if label in each["Labels"]]
        return "".join(f"{each['Name']}\n" for each in networks)
    if doing == "inspect":
        return inspect(networks, rest, "network")
    if doing == "create":
        name = rest[-1]
        if any(each["Name"] == name for each in networks):
            raise Refusal(f"Error response from daemon: network with name {name} already exists")
        labels = [rest[at + 1].partition("=")[::2] for at, word in enumerate(rest) if word == "--label"]
        subnet = rest[rest.index("--subnet") + 1]
        networks.append(made_network(name, subnet, dict(labels)))
        return "0123\n"
    if doing == "connect":
        address, name, node = rest[1:]
        (found,) = [each for each in networks if each["Name"] == name]
        found["Containers"][node] = {"Name": node}
        (container,) = [each for each in daemon["containers"] if each["Name"] == node]
        container["interfaces"][daemon["uplink"]] = address
        return ""
    if doing == "disconnect":
        (found,) = [each for each in networks if each["Name"] == rest[1]]
        found["Containers"].pop(rest[2], None)
        return ""
    assert doing == "rm"
    for each in networks:
        if each["Name"] == rest[0] and each["Containers"]:
            raise Refusal(f"Error response from daemon: network {rest[0]} has active endpoints")
    daemon["networks"] = [each for each in networks if each["Name"] != rest[0]]
    return rest[0] + "\n"


def made_network(name: str, subnet: str, labels: dict[str, str] | None = None) -> Json:
    config = [{"Subnet": subnet}] if subnet else []
    return {"Name": name, "Labels": labels or {}, "IPAM": {"Config": config}, "Containers": {}}


def inspect(objects: list[Json], names: list[str], kind: str) -> str:
    found = [each for each in objects if each["Name"] in names]
    if len(found) < len(names):
        raise Refusal(f"Error response from daemon: {kind} not found", json.dumps(found))
    return json.dumps(found) + "\n"


def image(daemon: Json, name: str) -> str:
    if name not in daemon["images"]:
        raise Refusal(f"Error response from daemon: no such image: {name}: No such image: {name}")
    return "sha256:0\n"


def pull(daemon: Json, name: str) -> str:
    if name not in daemon["registry"]:
        raise Refusal(daemon["pull_error"].format(name=name))
    daemon["images"].append(name)
    return name + "\n"


def inside(daemon: Json, node: str, argv: list[str]) -> str:
    (container,) = [each for each in daemon["containers"] if each["Name"] == node]
    if "monitor" in argv:  # something changes, and it says so
        container.update(daemon["becomes"].get(node, {}))
        return "20.0.0.0/26 via 192.168.219.22 dev tunl0 proto bird onlink\n"
    if "addr" in argv:
        links = [
            {
                "ifindex": number,
                "ifname": name.removesuffix(" down"),
                "mtu": 1500,
                "flags": [] if name.endswith(" down") else ["UP"],
                "addr_info": [{"local": address, "prefixlen": 24}] if address else [],
            }
            for number, (name, address) in enumerate(container["interfaces"].items(), start=1)
        ]
        return json.dumps(links) + "\n"
    assert "route" in argv, argv
    if "default" in argv:
        return json.dumps([{"dst": "default", "gateway": "172.18.0.1", "dev": daemon["default_route"]}])
    return json.dumps(container.get("routes", []))


def ip(daemon: Json, argv: list[str]) -> str:
    return json.dumps(daemon["routes"])


def kind(daemon: Json, argv: list[str]) -> str:
    told = daemon["kind"]
    if argv == ["--version"]:
        return f"{told['version']}\n"
    if argv == ["get", "clusters"]:
        label = "io.x-k8s.kind.cluster"
        return "".join(
            f"{name}\n" for name in sorted({each["Labels"][label] for each in daemon["containers"]})
        )
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in argv if word.startswith("--"))
    if argv[0] == "create":
        daemon["config"] = Path(argv[argv.index("--config") + 1]).read_text()
        if told["create"]:
            raise Refusal(told["create"])
        print(" • Preparing nodes 📦 📦 📦  ...", " ✓ Preparing nodes 📦 📦 📦", sep="\n", file=sys.stderr)
        if not any(each["Name"] == "kind" for each in daemon["networks"]):
            daemon["networks"].append(made_network("kind", "172.18.0.0/16"))
        mark = daemon["config"].partition("containerPath: ")[2].partition("\n")[0]
        for role in ("control-plane", "worker", "worker2"):
            daemon["containers"].append(made_node(flags["name"], role, mark))
        Path(flags["kubeconfig"]).write_text(told["kubeconfig"])
        return ""
    if argv[0] == "load":
        what = argv[-1]
        if argv[1] == "docker-image" and told["load"]:
            raise Refusal(told["load"])
        daemon["loaded"].append([argv[1], Path(what).read_text() if argv[1] == "image-archive" else what])
        return ""
    assert argv[0] == "delete", argv
    if told["delete"]:
        raise Refusal(told["delete"])
    Path(flags["kubeconfig"]).parent.mkdir(parents=True, exist_ok=True)  # to lock it
    for each in [each["Name"] for each in daemon["containers"]]:
        if each.startswith(flags["name"] + "-"):
            remove(daemon, each)
    return ""


def made_node(cluster: str, role: str, mark: str = "") -> Json:
    return {
        "Name": f"{cluster}-{role}",
        "Labels": {"io.x-k8s.kind.cluster": cluster},
        "Mounts": [{"Type": "bind", "Source": "/dev/null", "Destination": mark}] if mark else [],
        "interfaces": {"lo": "127.0.0.1", "eth0": "172.18.0.2"},
    }


if __name__ == "__main__":
    main(os.path.basename(sys.argv[0]), sys.argv[1:])
