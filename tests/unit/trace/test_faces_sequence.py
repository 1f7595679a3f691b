"""The sequence diagrams of a trace: Mermaid's text by its grammar, the SVG as a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from builders_faces import HOSTILE, a_decision, a_frame, a_trace, across_nodes, both_ways, by_nat_gateway, dropped, hostile

from labnet.trace.render.mermaid import render_mermaid
from labnet.trace.render.svg import render_svg

ARROW = re.compile(r"    (p\d+)(->>|-x)(p\d+): (\S.*)")
NOTE = re.compile(r"    Note over (p\d+)(?:,(p\d+))?: (\S.*)")
PARTICIPANT = re.compile(r"    participant (p\d+) as (\S.*)")
ENTITY = re.compile(r"#(\d+|lt|gt|amp|quot);")
BREAK = "<br/>"
SVG = "{http://www.w3.org/2000/svg}"


def lines_of(text: str) -> list[str]:
    """The lines behind the first one, each of which must be of the grammar and without a character that Mermaid would take for its own."""
    first, *lines = text.splitlines()
    assert first == "sequenceDiagram"
    assert text.endswith("\n") and not text.endswith("\n\n")
    for line in lines:
        match = ARROW.fullmatch(line) or NOTE.fullmatch(line) or PARTICIPANT.fullmatch(line)
        assert match, line
        said = ENTITY.sub("", match.groups()[-1]).replace(BREAK, "")
        assert not re.search(r"[#;<>\"\\%{}]", said), line
    return lines


def arrows(lines: list[str]) -> list[tuple[str, str, str, str]]:
    return [match.groups() for line in lines if (match := ARROW.fullmatch(line))]


def test_participants_stand_in_the_order_of_the_path_and_every_wire_is_an_arrow() -> None:
    lines = lines_of(render_mermaid(by_nat_gateway()))
    assert [line.split(" as ")[1] for line in lines if "participant" in line] == ["pod2", "node1", "vpc", "nat-a", "igw", "internet"]
    assert [(start, head, end) for start, head, end, _ in arrows(lines)] == [
        ("p1", "->>", "p2"), ("p2", "->>", "p3"), ("p3", "->>", "p4"), ("p4", "->>", "p3"), ("p3", "->>", "p5"), ("p5", "->>", "p6"),
    ]
    assert "    Note over p4: nat: SNAT 10.10.0.9 → 10.10.64.4" in lines
    assert lines[-1] == "    Note over p1,p6: delivered"


def test_an_arrow_has_hops_links_addresses_ttl_and_macs() -> None:
    said = arrows(lines_of(render_mermaid(across_nodes())))[1][3]
    assert said == BREAK.join((
        "3–4  eth1 → paaaaaaaaaaaa2", "10.10.0.9 → 10.10.0.7, ttl 63", "02:00:00:00:00:03 → 0e:00:00:00:00:01",
    ))


def test_a_drop_is_a_cross_with_its_reason() -> None:
    lines = lines_of(render_mermaid(dropped()))
    start, head, end, said = arrows(lines)[-1]
    assert (start, head, end) == ("p4", "-x", "p4")
    assert said == "dropped: rp-filter: the way back to 10.10.0.9 leads by eth1 (counter #quot;IPReversePathFilter#quot;)"
    assert not any("delivered" in line for line in lines)


def test_a_frame_that_never_arrived_ends_in_a_cross() -> None:
    gone = a_trace([("n", "pod2", "eth0", "out", a_frame("10.0.0.1", "10.0.0.2"), None)], delivered=False)
    assert [(head, start == end) for start, head, end, _ in arrows(lines_of(render_mermaid(gone)))] == [("-x", True)]


def test_a_packet_that_was_never_sent_is_a_note_and_a_cross() -> None:
    drop = {"hop": 1, "check": "no-route", "text": "there is no route", "counter": ""}
    never = a_trace([("n", "pod2", "", "out", None, a_decision(check="no-route"))], delivered=False, drop=drop)
    lines = lines_of(render_mermaid(never))
    assert "    Note over p1: check: no-route" in lines
    assert [said for *_, said in arrows(lines)] == ["dropped: no-route: there is no route"]
    assert ElementTree.fromstring(render_svg(never)).tag == f"{SVG}svg"


def test_both_ways_share_the_participants() -> None:
    lines = lines_of(render_mermaid(both_ways()))
    ways = [(start, end) for start, _, end, _ in arrows(lines)]
    assert ways == [("p1", "p2"), ("p2", "p3"), ("p3", "p4"), ("p4", "p5"), ("p5", "p4"), ("p4", "p3"), ("p3", "p2"), ("p2", "p1")]


def test_what_aws_decided_stands_in_place_of_the_rules_that_imitate_it() -> None:
    text = render_mermaid(across_nodes())
    assert "Note over p3: group: sg-1 egress: sgr-1: a rule allows ICMP" in text
    assert "10.10.0.7 dev p scope link" not in text


def test_markup_in_a_text_stays_text() -> None:
    document, _ = hostile()
    lines_of(render_mermaid(document))
    svg = render_svg(document)
    assert "<script" not in svg and "<img" not in svg
    said = "".join(ElementTree.fromstring(svg).itertext())
    assert HOSTILE[:32] in said


@pytest.mark.parametrize("document", [across_nodes(), dropped(), both_ways(), by_nat_gateway()], ids=["across", "dropped", "both", "nat"])
def test_the_svg_stands_alone_and_keeps_within_its_edges(document) -> None:
    svg = render_svg(document)
    root = ElementTree.fromstring(svg)
    assert not re.search(r"<script|href|url\(|@import|http", svg.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    assert "prefers-color-scheme: dark" in svg
    _, _, right, bottom = map(float, root.attrib["viewBox"].split())
    for text in root.iter(f"{SVG}text"):
        size = 20 if text.get("class") == "seq-title" else 13 if text.get("class") == "seq-name" else 10.5
        wide = len(text.text or "") * size * 0.605
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        left = x - wide / 2 if text.get("text-anchor") == "middle" else x
        assert left >= 0 and left + wide <= right + 1 and 0 < y < bottom, text.text
    heads = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "seq-name"]
    assert heads == list(dict.fromkeys(hop["owner"] for hop in document["hops"]))


def test_the_svg_has_a_line_for_every_wire_and_a_cross_for_a_drop() -> None:
    def count(document, css: str) -> int:
        return sum(1 for item in ElementTree.fromstring(render_svg(document)).iter() if item.get("class") == css)

    assert (count(across_nodes(), "seq-wire"), count(across_nodes(), "seq-cross")) == (4, 0)
    assert (count(dropped(), "seq-wire"), count(dropped(), "seq-cross")) == (3, 1)
    said = "".join(ElementTree.fromstring(render_svg(dropped())).itertext())
    assert "would pass with rp_filter=2 on eth0" in said and "net.ipv4.conf.eth0.rp_filter = 1" in said
