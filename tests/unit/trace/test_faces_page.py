"""The page of a trace: self-contained, everything escaped, complete without scripts, nothing in the picture over anything else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import combinations

import pytest
from builders_faces import (
    ENIS,
    HOSTILE,
    IGW,
    LAB,
    NODE2,
    PORT,
    VPC,
    a_decision,
    a_frame,
    a_scene,
    a_trace,
    across_nodes,
    both_ways,
    by_nat_gateway,
    dropped,
    hostile,
)

from labnet.trace.render.drawing import boxes_overlap, width
from labnet.trace.render.html import render_html
from labnet.trace.render.html_cast import cast_of
from labnet.trace.render.html_layout import TALL, WIDE, laid_out
from labnet.trace.render.html_route import way_of
from labnet.trace.render.story import legs_of

TRACES = {"across": across_nodes(), "dropped": dropped(), "both": both_ways(), "nat": by_nat_gateway()}
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """The elements of a page with their attributes and texts; complains about what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside in self.inline:
            self.inline[inside].append(data)
        else:
            self.texts.append(data)

    def all(self, css: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.elements if css in (attrs.get("class") or "").split()]


@pytest.mark.parametrize("name", TRACES)
def test_every_hop_has_a_panel_a_row_and_a_place_in_both_pictures(name: str) -> None:
    document = TRACES[name]
    page = Page(render_html(document, a_scene()))
    hops = len(document["hops"]) + len((document["back"] or {"hops": []})["hops"])
    numbers = [str(number) for number in range(1, hops + 1)]
    assert [one["data-step"] for one in page.all("step")] == numbers
    assert [attrs["data-step"] for tag, attrs in page.elements if tag == "tr" and "data-step" in attrs] == numbers
    assert sorted(" ".join(str(one["data-steps"]) for one in page.all("badge")).split(), key=int) == sorted(2 * numbers, key=int)
    data = json.loads(page.inline["script"][0])
    assert data["trace"] == document
    assert len(data["steps"]) == hops and all(step["place"] for step in data["steps"])


def test_nothing_is_loaded_and_only_its_own_script_and_style_may_run() -> None:
    text = render_html(dropped(), a_scene())
    page = Page(text)
    assert not re.search(r"url\(|@import|https?:", text.replace("http://www.w3.org/2000/svg", ""))
    for tag, attrs in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
        assert not {"src", "style", "srcset", "data", "poster"} & set(attrs), (tag, attrs)
        assert not [key for key in attrs if key.startswith("on")]
        assert str(attrs.get("href") or "#").startswith("#")
    policy = next(str(attrs["content"]) for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for kind, inline in (("script", page.inline["script"][-1]), ("style", page.inline["style"][0])):
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert len(page.inline["style"]) == 1 and len(page.inline["script"]) == 2


def test_markup_in_a_text_stays_text() -> None:
    document, scene = hostile()
    text = render_html(document, scene)
    plain = Page(render_html(dropped(), a_scene()))
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert tags <= {tag for tag, _ in plain.elements} and len(page.inline["script"]) == 2
    assert text.count("</script") == 2
    assert json.loads(page.inline["script"][0])["trace"]["from"] == HOSTILE
    assert any(HOSTILE[:40] in said for said in page.texts)


def test_a_page_without_scripts_says_what_was_decided_and_why_it_ended() -> None:
    said = " ".join(" ".join(Page(render_html(dropped(), a_scene())).texts).split())
    for words in (
        "dropped at hop 6", "1536: from 10.10.0.9 lookup 2", "table local has no route", "default via 10.10.0.1 dev eth1", "(by ARP)",
        "the kernel's own lookup agrees", "Security group, egress", "sg-1 sgr-1", "was 64", "was 02:00:00:00:00:01",
        "net.ipv4.conf.eth0.rp_filter = 1",
        "would pass with rp_filter=2 on eth0", "by the desired state it is reachable", "node1 eth1",
    ):
        assert words in said, words
    assert said.count("would pass with") == 2  # in the panel and in the sequence diagram


def test_every_kind_of_decision_is_told() -> None:
    decision = a_decision(
        matched=[
            {
                "backend": "legacy", "family": "ip", "table": "nat", "chain": "POSTROUTING", "number": 1, "handle": 0, "text": "-j AWS",
                "verdict": "SNAT", "traced": True,
            },
            {
                "backend": "legacy", "family": "ip", "table": "filter", "chain": "FORWARD", "number": 0, "handle": 0, "text": "-P DROP",
                "verdict": "DROP", "traced": None,
            },
        ],
        conntrack={"before": None, "after": {"text": "icmp src=10.10.0.9"}}, mark={"in": 0, "out": 128}, mtu=9001,
        rpFilter={"link": "eth0", "value": 1, "verdict": "drops", "text": "the way back leads by eth1"}, confirmed=False,
        kernel={"agrees": False, "table": 254, "route": "default via 10.0.0.1", "error": 0, "mark": 0, "iif": ""},
        route="default dev x", table=2, nat="SNAT 10.0.0.1:5 → 10.0.0.2:6; DNAT 10.0.0.3 → 10.0.0.4",
    )
    frame = a_frame("10.0.0.1", "10.0.0.2", protocol="tcp", srcPort=4000, dstPort=80)
    page = Page(render_html(a_trace([(NODE2, "node2", "eth0", "in", frame, decision)], answerDrop=None), a_scene()))
    said = " ".join(" ".join(page.texts).split())
    for words in (
        "nat POSTROUTING #1", "✓ seen in the kernel's trace", "filter FORWARD policy", "no entry", "icmp src=10.10.0.9", "0x0 → 0x80",
        "next MTU 9001", "the way back leads by eth1", "the kernel's own lookup differs: table main, default via 10.0.0.1", "10.0.0.3", "4000",
    ):
        assert words in said, words


def test_the_answer_that_was_lost_is_no_good_verdict() -> None:
    lost = across_nodes() | {"answerDrop": {"hop": 8, "check": "acl", "text": "the ACL refuses it", "counter": ""}}
    text = render_html(lost, a_scene())
    assert "answer lost" in text and "its answer was dropped: acl: the ACL refuses it" in text


# ---- the picture ------------------------------------------------------------------------------------------------------------


def layouts(document, scene):
    legs = legs_of(document)
    return [(laid_out(cast_of(scene, legs, metrics.room), metrics), legs) for metrics in (WIDE, TALL)]


def crowded():
    """Long names, long addresses, more pods and ENIs than there is room for."""
    scene = a_scene()
    node = scene["nodes"][0]
    for index in range(2, 8):
        eni = {"id": f"eni-00000000000cc{index:04d}", "deviceIndex": index, "name": f"eth{index}", "table": index + 1}
        pod = {"name": f"a-deployment-with-a-long-name-{index}", "netns": f"x{index}", "ip": f"10.10.100.{100 + index}"}
        node["enis"].append(node["enis"][1] | eni)
        scene["pods"].append(scene["pods"][0] | pod)
    scene["pods"].reverse()
    for eni in node["enis"]:
        eni["ip"] = "10.10.100.100" if eni["deviceIndex"] == 0 else eni["ip"]
    scene["subnets"][0]["name"] = "a-subnet-with-a-very-long-name-indeed-a"
    return scene


@pytest.mark.parametrize("scene", [a_scene(), crowded()], ids=["deck", "crowded"])
@pytest.mark.parametrize("name", TRACES)
def test_no_box_covers_another_and_every_text_fits_its_box(name: str, scene) -> None:
    for layout, _ in layouts(TRACES[name], scene):
        m = layout.metrics
        boxes = [(box.x, box.y, box.x + box.w, box.y + box.h) for box in layout.front]
        for one, other in combinations(zip(boxes, layout.front, strict=True), 2):
            assert not boxes_overlap(one[0], other[0]), (one[1], other[1])
        for box in (*layout.behind, *layout.front):
            size = {"veth": m.small - 0.5, "table": m.small, "subnet": m.small}.get(box.kind, m.small)
            for line in box.lines:
                assert width(line, size) <= box.w, (m.name, box.kind, line)
            assert box.x >= 0 and box.x + box.w <= layout.width and box.y >= 0 and box.y + box.h <= layout.height


@pytest.mark.parametrize("name", TRACES)
def test_no_two_hops_are_at_the_same_place_and_the_line_leads_from_one_to_the_next(name: str) -> None:
    for layout, legs in layouts(TRACES[name], a_scene()):
        for leg in legs:
            way = way_of(layout, leg)
            points = list(way.points.values())
            assert len(points) == len(leg.steps)
            assert all(abs(one[0] - other[0]) > 16 or abs(one[1] - other[1]) > 16 for one, other in combinations(points, 2))
            for number, line in way.lines.items():
                numbers = [float(one) for one in re.findall(r"-?[\d.]+", line)]
                assert numbers[:2] == pytest.approx(way.points[number - 1], abs=0.1)
                assert numbers[-2:] == pytest.approx(way.points[number], abs=0.1)


def test_the_line_goes_through_the_table_that_decided() -> None:
    for layout, legs in layouts(across_nodes(), a_scene()):
        way = way_of(layout, legs[0])
        two, main = layout.tables[f"{LAB}-node1", 2], layout.tables[NODE2, 254]
        assert way.tables == {2: two.key, 6: main.key}
        assert f"{two.middle:.1f} {two.y + two.h:.1f}" in way.lines[3] and f"{main.middle:.1f} {main.y:.1f}" in way.lines[7]
        assert layout.anchors[VPC, PORT[ENIS["node1"][1]]].x == layout.anchors[f"{LAB}-node1", "eth1"].x


def test_the_cross_stands_where_the_packet_ended_and_its_label_covers_no_text() -> None:
    for layout, legs in layouts(dropped(), a_scene()):
        way = way_of(layout, legs[0])
        assert way.end is not None
        chip = next(box for box in layout.front if box.key == f"{NODE2} eth0")
        assert chip.y + chip.h < way.end[1] < layout.tables[NODE2, 254].y
    text = render_html(dropped(), a_scene())
    assert text.count('class="cross"') == 2 and text.count("✕ rp-filter</text>") == 2
    assert 'class="cross"' not in render_html(across_nodes(), a_scene())


def test_the_cross_of_a_packet_that_was_never_sent_covers_no_text_either() -> None:
    drop = {"hop": 1, "check": "no-route", "text": "there is no route", "counter": ""}
    for netns, owner, link in ((f"{LAB}-internet", "internet", ""), (f"{LAB}-pod2", "pod2", "eth0"), (NODE2, "node2", "eth0")):
        document = a_trace([(netns, owner, link, "out", None, a_decision())], delivered=False, drop=drop)
        for layout, legs in layouts(document, a_scene()):
            x, y = way_of(layout, legs[0]).end or (0.0, 0.0)
            box = next(box for box in layout.front if box.key in (netns, f"{netns} {link}"))
            texts = [(box.middle - width(line, 11) / 2, box.middle + width(line, 11) / 2) for line in box.lines]
            inside = box.y + 14 < y < box.y + box.h - 8
            assert not inside or all(x + 10 < left or right < x - 10 for left, right in texts), owner


def test_who_is_not_on_the_path_is_not_in_the_picture_but_its_neighbours_are() -> None:
    scene = a_scene()
    scene["nodes"].append(scene["nodes"][0] | {"name": "node3", "netns": "x", "enis": []})
    cast = cast_of(scene, legs_of(across_nodes()), WIDE.room)
    columns = cast.vpcs[0].columns
    assert [(column.name, [pod.name for pod in column.pods]) for column in columns] == [("node1", ["pod1", "pod2"]), ("node2", ["pod3"])]
    assert (cast.internet, cast.vpcs[0].igw) == ("", "")
    cast = cast_of(scene, legs_of(by_nat_gateway()), WIDE.room)
    assert [(column.kind, column.name) for column in cast.vpcs[0].columns] == [("node", "node1"), ("nat", "nat-a")]
    assert (cast.vpcs[0].igw, cast.internet_detail) == (IGW, "8.8.8.8")


def test_a_node_shows_the_pods_and_enis_of_the_path_first_and_counts_the_others() -> None:
    cast = cast_of(crowded(), legs_of(across_nodes()), TALL.room)
    node = cast.vpcs[0].columns[0]
    assert "pod2" in [pod.name for pod in node.pods] and "eth1" in [eni.name for eni in node.enis]
    assert (len(node.pods), node.more_pods, len(node.enis), node.more_enis) == (2, 6, 2, 6)


def test_a_peering_connection_joins_the_routers_of_two_vpcs() -> None:
    scene = a_scene()
    scene["vpcs"].append({"id": "vpc-2", "name": "right", "cidrs": ["10.20.0.0/16"], "netns": "right", "igw": ""})
    scene["peerings"] = [{"id": "pcx-1", "name": "p", "port": "x1", "vpcs": ["vpc-2", "vpc-1"]}]
    end = ("10.10.0.9", "10.20.0.9")
    document = a_trace([
        (VPC, "vpc", "x1", "out", a_frame(*end), None), ("right", "vpc.right", "x1", "in", a_frame(*end), None),
    ])
    for layout, legs in layouts(document, scene):
        start, stop = way_of(layout, legs[0]).points.values()
        assert start[1] == stop[1] and stop[0] - start[0] > 16


def test_a_trace_without_its_scene_is_still_a_picture() -> None:
    page = Page(render_html(by_nat_gateway()))
    assert len(page.all("step")) == 12
    said = " ".join(page.texts)
    assert all(name in said for name in ("pod2", "nat-a", "internet"))
