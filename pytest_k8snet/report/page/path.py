"""The picture of a request's path, or its answer's: where each box, mark and letter is (pure geometry).

It goes from top to bottom, as wide as a phone: a box for each node that the packet comes by, in it the pods
and the capture points, and at each point the packet as it was seen there, envelope around inner header. The
way is a line on the left. It is drawn through where the packet was seen, dotted where nobody saw it.

Units are those of the SVG: about one CSS pixel on a phone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from pytest_k8snet.report.drawing import Drawing, Sighting
from pytest_k8snet.report.page.lettering import folded
from pytest_k8snet.report.page.pen import BODY, BOLD, LINE, MONO, MOST_LINES, NODE, PAD, SANS, WAY, Pen
from pytest_k8snet.report.page.shapes import Box, Mark, Picture, Way
from pytest_k8snet.report.page.stops import End, Leg, Stop, envelopes

WIDTH = 340.0
_TUNNELS = {"ipip": "IPIP", "vxlan": "VXLAN"}


def picture(leg: Leg) -> Picture:
    """Its nodes in path order, who sends in the first one's box, who is to get it in the last one's."""
    return _Path(leg).picture()


class _Path(Pen):
    def __init__(self, leg: Leg) -> None:
        super().__init__()
        self._leg = leg
        self._drawing = leg.drawing
        self._on_the_way: list[tuple[float, bool]] = []  #: (y, seen there), in path order
        self._before: Sighting | None = None

    def picture(self) -> Picture:
        places = self._places()
        for number, (node, there) in enumerate(places):
            if number:
                self._wire(places[number - 1][0], node, places[number - 1][1], there)
            self._node(node, there, first=number == 0, last=number == len(places) - 1)
        if not self._leg.is_answer:
            self._answer()
        way = [
            Way(top, bottom, "seen" if before and seen else "unseen")
            for (top, before), (bottom, seen) in zip(self._on_the_way, self._on_the_way[1:], strict=False)
        ]
        shapes = (*self.nodes, *self.frames, *self.boxes, *way, *self.shapes)
        return Picture(WIDTH, self.y + 6, shapes)

    def _places(self) -> list[tuple[str, list[Stop]]]:
        leg = self._leg
        places = [(node, list(there)) for node, there in groupby(leg.stops, key=lambda stop: stop.node)]
        if not places or places[0][0] != leg.source.node:
            places.insert(0, (leg.source.node, []))
        if places[-1][0] != leg.goal.node:
            places.append((leg.goal.node, []))
        return places

    def _node(self, name: str, there: Sequence[Stop], *, first: bool, last: bool) -> None:
        top = self.y
        self.y += 19
        role = _role(self._drawing, name)
        self.text(NODE[1] - 10, role, "role", end=True)
        self.lines(BODY[0], folded(name, int((BODY[1] - BODY[0]) / BOLD) - len(role)), "node")
        if first:
            self._source()
        for number, stop in enumerate(there):
            # On the way from node to node what changed stands between their boxes.
            if stop.sighting is not None and (number or first):
                self._changes(stop.sighting)
            self._stop(stop)
        if last:
            self._goal()
        self.y += 2
        self.nodes.append(Box(NODE[0], top, NODE[1] - NODE[0], self.y - top, "node"))

    def _source(self) -> None:
        drawing = self._drawing
        told = "answers"
        if not self._leg.is_answer:
            told = f"asks {drawing.asked}" + (f", {drawing.service}" if drawing.service else "")
        bottom = self._end_box(self._leg.source, told, "pod")
        self._on_the_way.append((bottom, True))

    def _goal(self) -> None:
        reached = bool(self._on_the_way) and self._on_the_way[-1][1] and len(self._on_the_way) > 1
        top = self.y
        told = "" if reached else "not seen to arrive"
        self._end_box(self._leg.goal, told, "pod" if reached else "pod missed")
        self._on_the_way.append((top, reached))

    def _end_box(self, end: End, told: str, look: str) -> float:
        kind = "pod" if end.is_pod else "process on the node"
        x, top = NODE[0] + 8, self.y
        width = BODY[1] - x
        self.y += 17
        self.text(BODY[1] - PAD, kind, "role", end=True)
        self.lines(x + PAD, folded(end.name, int((width - 30) / BOLD) - len(kind)), "name")
        if told:
            self.lines(x + PAD, folded(told, int((width - 2 * PAD) / MONO)), "address")
        self.y -= 4
        self.boxes.append(Box(x, top, width, self.y - top, look))
        self.y += 12
        return self.y - 12

    def _changes(self, sighting: Sighting) -> None:
        """What was done to the packet since it was last seen, in the order in which a kernel does it."""
        told = [change for change in sighting.changes if change not in ("sent", "unchanged")]
        nat = [change for change in told if change.startswith(("DNAT ", "SNAT ", "un-DNAT ", "un-SNAT "))]
        rest = [change for change in told if change not in nat]
        opened = any(change.startswith("decapsulated") for change in rest)
        if opened:
            self.pills(rest)
        for change in nat:
            self.nat(change)
        if not opened:
            self.pills(rest)
        if told:
            self.y += 4

    def _stop(self, stop: Stop) -> None:
        wrong = stop.look == "wrong"
        top = self.y
        if wrong:
            self.y += 14
            self.text(BODY[0], "FIRST WRONG HOP", "flag")
            self.y += 6
        mark = self.y + 7
        self.y += 12
        seen = stop.sighting
        if seen is not None and seen.number is not None:
            self.text(BODY[1], f"packet {seen.number}", "role", end=True)
        self._point(stop)
        if seen is None:
            self._told("the request is not expected here, and was not seen here", "note")
        elif seen.number is not None:
            self.packet(seen, self._before)
            self._before = seen
            if seen.note:
                self._told(seen.note, "note")
        else:
            self.absent(seen.note or "nothing was seen")
        if seen is not None and seen.expected:
            self._expected(seen.expected)
        if wrong:
            frame = Box(NODE[0] + 4, top, NODE[1] - NODE[0] - 8, self.y - top - 1, "wrong")
            self.frames.append(frame)
            self.y += 8
        self.shapes.append(Mark(WAY, mark, stop.look))
        if seen is not None:
            self._on_the_way.append((mark, stop.seen))

    def _point(self, stop: Stop) -> None:
        """ "source-veth calia5814ebbae9", on two lines where an interface has a long name."""
        beside = BODY[0] + len(stop.point) * 6.9 + 8
        self.text(BODY[0], stop.point, "point")
        if beside + len(stop.interface) * MONO > BODY[1] - 62:
            self.y += LINE
            beside = BODY[0]
        columns = max(int((BODY[1] - beside) / MONO), 4)
        self.lines(beside, folded(stop.interface, columns), "interface")
        self.y -= 8

    def _expected(self, expected: str) -> None:
        self.y += 7
        self.lines(BODY[0], ["expected here"], "expected kind")
        columns = int((BODY[1] - BODY[0]) / MONO)
        parts = re.sub(r" (around|then) ", r"\n\1 ", expected).replace(" -> ", " \u2192\u00a0")
        self.lines(BODY[0], folded(parts, columns, MOST_LINES), "address expected")
        self.y -= 3

    def _told(self, text: str, look: str) -> None:
        self.y += 12
        self.lines(BODY[0], folded(text, int((BODY[1] - BODY[0]) / SANS)), look)

    def _wire(self, near: str, far: str, before: Sequence[Stop], after: Sequence[Stop]) -> None:
        """From one node's box to the next: through the tunnel, bare, or unseen."""
        drawing, top = self._drawing, self.y
        # What the two ends of the wire show; a packet seen further in says nothing of the wire.
        seen = [stop.sighting for stop in (*before[-1:], *after[:1]) if stop.sighting and stop.seen]
        due = drawing.tunnel if {near, far} == {drawing.entry_node, drawing.target_node} else ""
        outer = [envelope for sighting in seen for envelope in envelopes(sighting.outer)[:1]]
        if outer:
            told, look = f"{outer[0][0]} tunnel", "tunnel"
        elif seen:
            told, look = "between the nodes", "plain"
            if due:
                told, look = f"past the {_TUNNELS.get(due, due)} tunnel", "bypass"
        else:
            told, look = "between the nodes: nothing seen", "unseen"
        self.y += 17
        self.lines(BODY[0], folded(told, int((BODY[1] - BODY[0]) / BOLD)), f"wire {look}")
        self.y -= 6
        change = next((stop.sighting for stop in after if stop.sighting is not None), None)
        if change is not None:
            self._changes(change)
        self.y += 2
        if look == "tunnel":
            self.nodes.append(Box(WAY - 9, top, 18, self.y - top, "tube"))

    def _answer(self) -> None:
        drawing = self._drawing
        self.y += 10
        top = self.y
        mark = top + 14
        self.y += 18
        what = "got its answer" if drawing.answered else "got no answer"
        text = f"{drawing.client} {what}" + (f": {drawing.answer}" if drawing.answer else "")
        width = NODE[1] - NODE[0]
        self.lines(BODY[0], folded(text, int((BODY[1] - BODY[0]) / BOLD), MOST_LINES), "answer")
        self.y -= 6
        look = "answered" if drawing.answered else "unanswered"
        self.nodes.append(Box(NODE[0], top, width, self.y - top, look))
        self.shapes.append(Mark(WAY, mark, look))


def _role(drawing: Drawing, node: str) -> str:
    if node == drawing.client_node == drawing.target_node:
        return "source and target node" if drawing.client_is_pod else "client and target node"
    if node == drawing.client_node:
        return "source node" if drawing.client_is_pod else "client's node"
    if node == drawing.target_node:
        return "entry and target node" if node == drawing.entry_node else "target node"
    return "entry node" if node == drawing.entry_node else "on the way"
