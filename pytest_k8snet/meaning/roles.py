"""From a run's own addresses, names, hashes and ports to what they are.

Two runs of one config on different machines differ in nothing else. A role is what the labs' document calls
a thing: "pod-src", "node2.uplink", "node2.tunnel", "svc-clusterip". What nobody knows is called by where it
lies: "an address of the pods' range".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from pytest_k8snet.evidence.packets import IPAddress
from pytest_k8snet.evidence.reading import NotObserved

IPNetwork = IPv4Network | IPv6Network

#: Kinds of interfaces (``ip -d link``) that put packets into packets.
TUNNELS = frozenset({"ipip", "vxlan", "sit", "ip6tnl", "gre", "geneve", "wireguard"})
#: Ranges that the cluster declares, whatever they are. Other networks have a length beside their name.
PODS, SERVICES, NODES = "the pods' range", "the services' range", "the nodes' network"
BLOCK = "the pods of "  #: and a node's role
ANOTHER = "another node"  #: one without a role in the labs
#: The labs' own pods; "pod-dest-2" is one of those that lab 3 adds.
LAB_POD = re.compile(r"pod-(?:pause|src|dest)(?:-[0-9]+)?")

_QUAD = r"(?<![\w.:])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.])"
_HEXTETS = r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:.])"
_ADDRESS = re.compile(
    rf"\[(?P<bracketed>{_HEXTETS})\]:(?P<port6>[0-9]{{1,5}})"
    rf"|(?P<ip>{_QUAD}|{_HEXTETS})(?:/(?P<length>[0-9]{{1,3}})(?![\w.])|:(?P<port>[0-9]{{1,5}})(?![\w.]))?"
)
#: "service-ULMVA6XW-ns/name/tcp/": kube-proxy's chains in mode nftables have 8 letters of a hash.
_NFT_HASH = re.compile(r"\b(service|external|local|firewall|endpoint|affinity)-[A-Z2-7]{8}-")
#: The endpoint in such a name: "__10.180.0.1/80", colons of IPv6 as dots.
_NFT_ENDPOINT = re.compile(r"__(?P<ip>(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9a-f.]+)/(?P<port>[0-9]{1,5})\b")
#: "KUBE-SVC-HA3OA7QLOYQFHPUY": 16 letters of base32, in mode iptables.
_CHAIN = re.compile(r"\bKUBE-(?P<kind>SVC|SVL|EXT|XLB|FW|SEP)-(?P<hash>[A-Z2-7]{16})\b")
#: Felix's marks on rules, and its chains of one endpoint or policy: "cali:6gwbT8clXdHdC1b1",
#: "cali-tw-calia5814ebbae9", "cali-pi-_x8Yq...".
_FELIX_MARK = re.compile(r"\bcali:[\w-]{16}")
_FELIX_CHAIN = re.compile(r"\bcali-(?P<kind>tw|fw|th|fh|pi|po|pri|pro|gi|go|sm)-[\w-]+")
#: "veth1a2b3c4". The head ends before the first letter that can be a digit, or "vethabcdef1" had another.
_HEX_TAIL = re.compile(r"(?P<head>[a-z]+?)[0-9a-f]{7,}")
_PORT_OPTION = re.compile(r"(?P<option>--dports?|tcp \.|dport) (?P<port>[0-9]{1,5})\b")


@dataclass(frozen=True)
class Roles:
    """The map of one observation. Names of nodes are real ones, ``uplinks`` are (node, interface).

    All methods raise NotObserved for what has no name while not all names are known.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)  #: name -> "node2"
    addresses: Mapping[IPAddress, str] = field(default_factory=dict)
    homes: Mapping[IPAddress, str] = field(default_factory=dict)  #: of the labs' pods: the node's role
    networks: Mapping[IPNetwork, str] = field(default_factory=dict)
    uplinks: frozenset[tuple[str, str]] = frozenset()
    chains: Mapping[str, str] = field(default_factory=dict)  #: hash of a chain's name -> what it is for
    service_ports: frozenset[int] = frozenset()
    target_ports: frozenset[int] = frozenset()
    node_port: int = 0
    namespace: str = ""
    prefix: str = "cali"  #: of the hosts' ends of veth pairs
    #: Why not all names are known. What has none then is not called a stranger: it is not observed.
    unread: str = ""

    def node(self, name: str) -> str:
        return self.nodes.get(name, ANOTHER)

    def address(self, address: IPAddress) -> str:
        if address in self.addresses:
            return self.addresses[address]
        if _same_everywhere(address):
            return str(address)
        self._stranger(address)
        holding = [network for network in self.networks if address in network]
        if not holding:
            return "an address outside"
        return f"an address of {self.networks[max(holding, key=lambda network: network.prefixlen)]}"

    def _stranger(self, what: object) -> None:
        if self.unread:
            raise NotObserved(f"what {what} is can't be told: {self.unread}")

    def end(self, address: IPAddress, port: int) -> str:
        """ "pod-dest:target-port", "svc-clusterip:service-port", "node2.uplink:node-port"."""
        role = self.address(address)
        return f"{role}:{self.port(port, service=role.startswith('svc-'))}"

    def port(self, number: int, *, service: bool = False) -> str:
        """``service``: where a service is asked. Its port and that of its pods are one number, as a rule."""
        if number == self.node_port:
            return "node-port"
        first, second = ("target-port", self.target_ports), ("service-port", self.service_ports)
        if service:
            first, second = second, first
        if number in first[1]:
            return first[0]
        self._stranger(f"port {number}")
        return second[0] if number in second[1] else str(number)

    def network(self, network: IPNetwork) -> str:
        """ "the pods' range"; with its length where that counts: "the pods of node1 /26" is a block."""
        if network.num_addresses == 1:
            return self.address(network.network_address)
        if network.prefixlen == 0:
            return "default"
        if network in self.networks:
            name = self.networks[network]
            return name if name in (PODS, SERVICES, NODES) else f"{name} /{network.prefixlen}"
        if network.is_link_local or network.is_multicast or network.is_loopback:
            return str(network)
        self._stranger(network)
        above = [known for known in self.networks if _within(network, known)]
        if above:
            nearest = max(above, key=lambda known: known.prefixlen)
            return f"a part of {self.networks[nearest]} /{network.prefixlen}"
        below = {self.networks[known] for known in self.networks if _within(known, network)}
        if below:
            return f"a network with {' and '.join(sorted(below))}"
        return "a network outside"

    def behind(self, network: IPNetwork) -> str:
        """As :meth:`network`, of what is behind another node: "the pods of node1", by a block or one by one.
        Calico's IPAM gives a node several blocks, and where none is free single addresses of another's."""
        home = self.homes.get(network.network_address) if network.num_addresses == 1 else None
        name = f"{BLOCK}{home}" if home else self.network(network)
        return name.rpartition(" /")[0] if name.startswith(BLOCK) and not home else name

    def device(self, node: str, name: str | None) -> str:
        """ "uplink", "cali*"; other names, such as "tunl0", as they are."""
        if name is None:
            return "no device"
        if (node, name) in self.uplinks:
            return "uplink"
        shape = shape_of(name, self.prefix)
        if shape == name != "lo" and node not in {each for each, _ in self.uplinks}:
            self._stranger(f"{name} of {node}")
        return shape

    def text(self, text: str) -> str:
        """Rules, and all else that programs print, in roles."""
        text = _CHAIN.sub(self._chain, text)
        text = _FELIX_CHAIN.sub(r"cali-\g<kind>-*", _FELIX_MARK.sub("cali:*", text))
        text = _NFT_ENDPOINT.sub(self._nft_endpoint, _NFT_HASH.sub(r"\1-*-", text))
        if self.namespace:
            text = re.sub(rf"(?<![\w.-]){re.escape(self.namespace)}/(?=[a-z])", "", text)
            text = text.replace(f"-*-{self.namespace}/", "-*-")
        text = _ADDRESS.sub(self._found, text)
        text = _PORT_OPTION.sub(
            lambda found: f"{found['option']} {self.port(int(found['port']), service=True)}", text
        )
        return self._interfaces(text)

    def _found(self, found: re.Match[str]) -> str:
        whole = found[0]
        try:
            if found["bracketed"]:
                return self.end(ip_address(found["bracketed"]), int(found["port6"]))
            if found["length"]:
                return self.network(ip_network(f"{found['ip']}/{found['length']}", strict=False))
            if found["port"]:
                return self.end(ip_address(found["ip"]), int(found["port"]))
            return self.address(ip_address(found["ip"]))
        except ValueError:
            return whole  # looked like one

    def _chain(self, found: re.Match[str]) -> str:
        if found["hash"] not in self.chains:
            self._stranger(found[0])
        return f"KUBE-{found['kind']}-({self.chains.get(found['hash'], '*')})"

    def _nft_endpoint(self, found: re.Match[str]) -> str:
        text = found["ip"]
        try:
            quad = text.count(".") == 3 and all(part.isdecimal() for part in text.split("."))
            address = IPv4Address(text) if quad else ip_address(text.replace(".", ":"))
        except ValueError:
            return found[0]
        return f"__{self.end(address, int(found['port']))}"

    def _interfaces(self, text: str) -> str:
        for name in {name for _, name in self.uplinks}:
            text = re.sub(rf'(?P<way>-[io] |[io]ifname "?){re.escape(name)}(?![\w+])', r"\g<way>uplink", text)
        return re.sub(rf"\b{re.escape(self.prefix)}[0-9a-f]{{8,}}\b", f"{self.prefix}*", text)


def shape_of(interface: str, prefix: str) -> str:
    """ "cali*" of "calia5814ebbae9": the prefix is configuration, the rest a hash."""
    if interface.startswith(prefix) and len(interface) > len(prefix) + 4:
        return f"{prefix}*"
    found = _HEX_TAIL.fullmatch(interface)
    return f"{found['head']}*" if found else interface


def _same_everywhere(address: IPAddress) -> bool:
    return address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner != outer and inner.subnet_of(outer)  # type: ignore[arg-type]
