"""Where everything stands in the picture of a trace: from the Internet at the top down to the pods (pure).

From top to bottom: the Internet, gateways on the VPC's edge, the VPC's router with the subnets below it, nodes with their ENIs, routing
tables and the host ends of veths, pods. A wire is a vertical line; what a node decides happens between the veths and the ENIs.
"""

from __future__ import annotations

from labnet.model.values import frozen
from labnet.trace.render.drawing import shortened
from labnet.trace.render.html_cast import Cast, Column, Eni, Pod, Room, Subnet, Vpc
from labnet.trace.render.story import table_name


@frozen
class Metrics:
    """Sizes of one layout, in pixels of its own."""

    name: str
    room: Room
    pod: float
    chip: float
    gap: float
    size: float
    small: float
    edge: float
    aspect: float
    """The least width in parts of the height: columns are spread until then."""


WIDE = Metrics("wide", Room(pods=3, enis=3), pod=112, chip=116, gap=14, size=12.5, small=10.5, edge=14, aspect=1.2)
TALL = Metrics("tall", Room(pods=2, enis=2), pod=79, chip=79, gap=5, size=10.5, small=9, edge=6, aspect=0)

POD_HEIGHT, CHIP_HEIGHT, TABLE_HEIGHT, PILL_HEIGHT, STRIP_HEIGHT = 52.0, 46.0, 20.0, 18.0, 38.0
ROUTER_HEIGHT, GATEWAY_HEIGHT, INTERNET_HEIGHT = 46.0, 42.0, 46.0
WIRE, BADGE = 48.0, 9.0
NAT_HEIGHT, VPC_GAP = 112.0, 60.0


@frozen
class Box:
    """A rectangle with lines of text in its middle; `key` is by what the page finds it again."""

    kind: str
    x: float
    y: float
    w: float
    h: float
    lines: tuple[str, ...] = ()
    key: str = ""
    text_y: float = 0.0
    """Where the first baseline is, from the top; 0 = the lines are centred."""

    @property
    def middle(self) -> float:
        """Its x in the middle."""
        return self.x + self.w / 2


@frozen
class Anchor:
    """Where a packet is when it is on a link: on the wire's side, and where it gets to inside (`inner_x`, `inner_y`).

    `end` is where the cross of a packet stands that came in and got no further: where it covers no text.
    """

    x: float
    y: float
    inner_x: float
    inner_y: float
    end: tuple[float, float] | None = None


@frozen
class Layout:
    """All positions. `behind` are drawn before the wires and the path, `front` after them."""

    metrics: Metrics
    width: float
    height: float
    behind: tuple[Box, ...]
    front: tuple[Box, ...]
    wires: tuple[tuple[float, float, float, float], ...]
    anchors: dict[tuple[str, str], Anchor]
    tables: dict[tuple[str, int], Box]
    places: dict[str, Anchor]
    routers: frozenset[str]


def laid_out(cast: Cast, metrics: Metrics) -> Layout:
    """The layout of a picture."""
    return _Builder(cast, metrics).layout()


class _Builder:
    """Fills the picture; rows have the same height everywhere, columns go from left to right."""

    def __init__(self, cast: Cast, m: Metrics) -> None:
        self.cast = cast
        self.m = m
        self.behind: list[Box] = []
        self.front: list[Box] = []
        self.wires: list[tuple[float, float, float, float]] = []
        self.anchors: dict[tuple[str, str], Anchor] = {}
        self.tables: dict[tuple[str, int], Box] = {}
        self.places: dict[str, Anchor] = {}
        top = m.edge + (INTERNET_HEIGHT + 52 if cast.internet else 0)
        self.vpc_y = top
        self.router_y = top + (44 if any(vpc.igw for vpc in cast.vpcs) else 30)
        self.node_y = self.router_y + ROUTER_HEIGHT + STRIP_HEIGHT + WIRE + 12
        has_pods = any(column.pods for vpc in cast.vpcs for column in vpc.columns)
        has_nodes = any(column.kind == "node" for vpc in cast.vpcs for column in vpc.columns)
        self.pill_y = self.node_y + CHIP_HEIGHT + TABLE_HEIGHT + 62
        self.pod_y = self.pill_y + PILL_HEIGHT + 36
        self.node_end = (self.pod_y + POD_HEIGHT if has_pods else self.node_y + CHIP_HEIGHT + TABLE_HEIGHT + 22) + 30
        self.vpc_end = (self.node_end if has_nodes else self.node_y + NAT_HEIGHT) + m.gap
        if not cast.vpcs:
            self.vpc_end = self.vpc_y + 60
        elif not any(vpc.columns for vpc in cast.vpcs):
            self.vpc_end = self.router_y + ROUTER_HEIGHT + m.gap

    def layout(self) -> Layout:
        x = self.m.edge
        for index, vpc in enumerate(self.cast.vpcs):
            if index:
                x += VPC_GAP
            x = self._vpc(vpc, x)
        x = self._others(x)
        right = max(x + self.m.edge, 300.0)
        if self.cast.internet:
            self._internet(right)
        self._peerings()
        return Layout(
            self.m, right, self.vpc_end + self.m.edge, tuple(self.behind), tuple(self.front), tuple(self.wires), self.anchors, self.tables,
            self.places, frozenset(vpc.netns for vpc in self.cast.vpcs),
        )

    # ---- a VPC --------------------------------------------------------------------------------------------------------------

    def _vpc(self, vpc: Vpc, left: float) -> float:
        """Draw it from `left` on; its right edge comes back."""
        m = self.m
        named = () if vpc.name.lower() == "vpc" else (vpc.name,)
        title = "  ".join(("VPC", *named, *vpc.cidrs[:1]))
        least = len(title) * m.small * 0.605 + (150 if vpc.igw else 24)
        spread = (self.vpc_end * m.aspect - VPC_GAP * (len(self.cast.vpcs) - 1)) / len(self.cast.vpcs)
        wide = max(sum(self._column_width(column) for column in vpc.columns) + m.gap * (len(vpc.columns) + 1), least, spread)
        spare = (wide - sum(self._column_width(column) for column in vpc.columns)) / (len(vpc.columns) + 1)
        self.behind.append(Box("vpc", left, self.vpc_y, wide, self.vpc_end - self.vpc_y, (title,), text_y=18))
        bar = Box("router", left + m.gap, self.router_y, wide - 2 * m.gap, ROUTER_HEIGHT, ("VPC router",), vpc.netns, text_y=15)
        self.behind.append(bar)
        run = self.router_y + 31
        self.places[vpc.netns] = Anchor(bar.middle, run, bar.middle, run)
        x = left
        strips: list[tuple[Subnet, float, float]] = []
        for column in vpc.columns:
            x += spare
            self._column(column, x, vpc, run, strips)
            x += self._column_width(column)
        self._strips(strips)
        if vpc.igw:
            self._igw(vpc, bar, run)
        return left + wide

    def _strips(self, ports: list[tuple[Subnet, float, float]]) -> None:
        """A strip for each run of ENIs that are in the same subnet."""
        runs: list[list[tuple[Subnet, float, float]]] = []
        for port in ports:
            if runs and runs[-1][-1][0] == port[0]:
                runs[-1].append(port)
            else:
                runs.append([port])
        for run in runs:
            subnet, left, right = run[0][0], run[0][1], run[-1][2]
            fits = int((right - left - 6) / (self.m.small * 0.605))
            said = f"subnet {subnet.name}" if len(subnet.name) + 7 <= fits else shortened(subnet.name, fits)
            lines = (said, shortened(subnet.cidr, fits))
            self.front.append(Box("subnet", left, self.router_y + ROUTER_HEIGHT, right - left, STRIP_HEIGHT, lines, text_y=15))

    def _igw(self, vpc: Vpc, bar: Box, run: float) -> None:
        wide = 132.0 if self.m is WIDE else 112.0
        x = min(max(bar.middle, bar.x + bar.w - wide / 2), bar.x + bar.w - wide / 2) if vpc.columns else bar.middle
        box = Box("gateway", x - wide / 2, self.vpc_y - GATEWAY_HEIGHT / 2, wide, GATEWAY_HEIGHT, ("internet gateway",), vpc.igw)
        self.front.append(box)
        top, end = box.y, box.y + box.h
        self.wires += [(x, top - 31, x, top), (x, end, x, self.router_y)]
        self.anchors[vpc.netns, "igw"] = Anchor(x, self.router_y, x, run)
        self.anchors[vpc.igw, "vpc"] = self.places[vpc.igw] = Anchor(x, end, x, end - 4, (x + wide / 2 - 4, end))
        self.anchors[vpc.igw, "wan"] = Anchor(x, top, x, top + 4, (x + wide / 2 - 4, top))

    # ---- a column -----------------------------------------------------------------------------------------------------------

    def _column_width(self, column: Column) -> float:
        m = self.m
        if column.kind == "nat":
            return m.chip + 2 * m.gap
        return max(len(column.enis) * (m.chip + m.gap), len(column.pods) * (m.pod + m.gap), len(self._title(column)) * m.small * 0.61) + m.gap

    def _title(self, column: Column) -> str:
        more = [f"+{count} {what}" for count, what in ((column.more_pods, "pods"), (column.more_enis, "ENIs")) if count]
        return "  ".join((f"{column.name}  {column.detail}", *more))

    def _column(self, column: Column, x: float, vpc: Vpc, run: float, strips: list[tuple[Subnet, float, float]]) -> None:
        m = self.m
        wide = self._column_width(column)
        y, node = self.node_y, column.kind == "node"
        end = self.node_end if node else y + NAT_HEIGHT - 14
        lines = (shortened(self._title(column), int(wide / (m.small * 0.605))),) if node else (
            "NAT gateway", shortened(column.name, 15), *(line for line in (column.enis[0].ip, column.detail) if line))
        top = y if node else y - 8
        self.behind.append(Box(column.kind, x, top, wide, end - top, lines, column.netns, text_y=end - y - 10 if node else 40))
        self.places[column.netns] = Anchor(x + wide / 2, y + 60, x + wide / 2, y + 60)
        step = wide / max(1, len(column.enis))
        for index, eni in enumerate(column.enis):
            middle = x + step * (index + 0.5)
            strips.append((eni.subnet, middle - m.chip / 2, middle + m.chip / 2))
            self._port(column, eni, middle, vpc, run)
        step = wide / max(1, len(column.pods))
        for index, pod in enumerate(column.pods):
            self._pod(column, pod, x + step * (index + 0.5))

    def _port(self, column: Column, eni: Eni, x: float, vpc: Vpc, run: float) -> None:
        """An ENI and its port in the fabric, and below it the table that leads to it."""
        below = self.router_y + ROUTER_HEIGHT + STRIP_HEIGHT
        top = self.node_y - 8
        self.wires.append((x, below, x, top))
        self.anchors[vpc.netns, eni.port] = Anchor(x, below + BADGE, x, run)
        if column.kind == "nat":
            self.anchors[column.netns, eni.name] = Anchor(x, top, x, top + 16)
            return
        chip = Box("eni", x - self.m.chip / 2, top, self.m.chip, CHIP_HEIGHT, (eni.name, eni.ip), f"{column.netns} {eni.name}", text_y=23)
        self.front.append(chip)
        self.anchors[column.netns, eni.name] = Anchor(x, top, x, top + CHIP_HEIGHT, (x, top + CHIP_HEIGHT + 13))
        if eni.table and (column.netns, eni.table) not in self.tables:
            name = table_name(eni.table)
            said = f"table {name}" if self.m is WIDE or len(name) < 5 else name
            wide = len(said) * self.m.small * 0.605 + 16
            table = Box("table", x - wide / 2, top + CHIP_HEIGHT + 26, wide, TABLE_HEIGHT, (said,), f"{column.netns} table {eni.table}")
            self.front.append(table)
            self.tables[column.netns, eni.table] = table

    def _pod(self, column: Column, pod: Pod, x: float) -> None:
        m = self.m
        self.front.append(Box("pod", x - m.pod / 2, self.pod_y, m.pod, POD_HEIGHT, (
            shortened(pod.name, int(m.pod / (m.size * 0.62))), pod.ip), pod.netns, text_y=26))
        pod_end = Anchor(x, self.pod_y, x, self.pod_y + 4, (x + m.pod / 2 - 4, self.pod_y))
        self.anchors[pod.netns, "eth0"] = self.places[pod.netns] = pod_end
        if pod.host_link:
            pill = Box("veth", x - m.pod / 2 + 2, self.pill_y, m.pod - 4, PILL_HEIGHT, (
                shortened(pod.host_link, int(m.pod / (m.small * 0.6)) - 1),), f"{column.netns} {pod.host_link}")
            self.front.append(pill)
            self.wires.append((x, pill.y + PILL_HEIGHT, x, self.pod_y))
            self.anchors[column.netns, pod.host_link] = Anchor(x, pill.y + PILL_HEIGHT + BADGE, x, pill.y, (x, pill.y - 15))

    # ---- around -------------------------------------------------------------------------------------------------------------

    def _internet(self, right: float) -> None:
        m = self.m
        gates = [self.anchors[vpc.igw, "wan"].x for vpc in self.cast.vpcs if vpc.igw] or [right / 2]
        wide = min(right - 2 * m.edge, 300.0)
        middle = min(max(sum(gates) / len(gates), m.edge + wide / 2), right - m.edge - wide / 2)
        y = m.edge
        detail = (shortened(self.cast.internet_detail, 40),) if self.cast.internet_detail else ()
        self.front.append(Box("internet", middle - wide / 2, y, wide, INTERNET_HEIGHT, ("Internet", *detail), self.cast.internet))
        x = gates[0]
        bottom = y + INTERNET_HEIGHT
        self.places[self.cast.internet] = Anchor(x, bottom, x, bottom - 4, (x + (32 if x + 60 < middle + wide / 2 else -32), bottom))

    def _peerings(self) -> None:
        """Wires between the routers of two VPCs."""
        bars = {box.key: box for box in self.behind if box.kind == "router"}
        y = self.router_y + 31
        for peering in self.cast.peerings:
            if peering.left not in bars or peering.right not in bars:
                continue
            left, right = sorted((bars[peering.left], bars[peering.right]), key=lambda bar: bar.x)
            start, end = left.x + left.w, right.x
            self.wires.append((start, y, end, y))
            self.anchors[left.key, peering.port] = Anchor(start, y, start - 16, y, (start - 26, y))
            self.anchors[right.key, peering.port] = Anchor(end, y, end + 16, y, (end + 26, y))
            wide = 8 * self.m.small * 0.605 + 4
            self.front.append(Box("peering", (start + end - wide) / 2, y - 32, wide, 17, ("peering",)))

    def _others(self, x: float) -> float:
        """Namespaces that the scene does not know: boxes in a row."""
        y = self.vpc_y
        for netns, owner in self.cast.others:
            x += self.m.gap * 2
            said = shortened(owner, 18)
            wide = max(90.0, len(said) * self.m.size * 0.62 + 20)
            self.front.append(Box("other", x, y, wide, 50, (said,), netns))
            self.places[netns] = Anchor(x + wide / 2, y + 50, x + wide / 2, y + 46)
            x += wide
        return x
