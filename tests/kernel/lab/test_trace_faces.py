"""The faces of a trace of real packets: files that `labnet trace` writes, and the page in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.chromium import Chromium
from tests.lab_runner import Labs

pytestmark = pytest.mark.kernel

STEP = "Number(document.documentElement.dataset.step)"
DATA = "JSON.parse(document.getElementById('data').textContent)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


def test_the_page_of_a_delivered_packet_shows_every_hop_of_it(deck: Labs, tmp_path: Path, chromium: Chromium) -> None:
    page, svg, mermaid = tmp_path / "t.html", tmp_path / "t.svg", tmp_path / "t.mmd"
    done = deck.run(
        "-l", deck.name, "trace", "pod2", "internet", "-o", "json", "--html", str(page), "--svg", str(svg), "--mermaid", str(mermaid),
    )
    document = json.loads(done.stdout)
    hops = document["hops"]
    assert [str(file) in done.stderr for file in (page, svg, mermaid)] == [True] * 3
    chromium.open(page)
    data = chromium.ask(DATA)
    assert data["trace"] == document
    assert len(data["steps"]) == len(hops) and all(step["place"] for step in data["steps"])
    for number, hop in enumerate(hops, 1):
        assert chromium.ask(STEP) == number
        panel = chromium.ask("document.querySelector('.step.now').innerText")
        assert hop["owner"] in panel and hop["frame"]["srcMac"] in panel and hop["frame"]["dst"] in panel
        chromium.press("ArrowRight")
    picture = chromium.ask("document.querySelector('.picture.wide').textContent")
    node = deck.node("node1")
    for words in ("pod1", "pod2", "table main", "table 2", "internet gateway", "Internet", *(eni["ip"] for eni in node["enis"])):
        assert words in picture, words
    assert "node2" not in picture  # the packet never comes there
    assert "was 10." in chromium.ask("document.querySelector('.panels').textContent")  # SNAT by the node
    assert chromium.trouble == [] and [url for url in chromium.requests if url != page.as_uri()] == []
    names = [text.text for text in ElementTree.fromstring(svg.read_text("utf-8")).iter() if text.get("class") == "seq-name"]
    assert names == list(dict.fromkeys(hop["owner"] for hop in hops))
    assert mermaid.read_text("utf-8").count("->>") == len(hops) // 2


def test_a_real_drop_has_its_cross_where_the_packet_was_last_seen(deck: Labs, tmp_path: Path, chromium: Chromium) -> None:
    page = tmp_path / "t.html"
    deck.inside("node2", "iptables", "-I", "FORWARD", "-p", "icmp", "-j", "DROP")
    try:
        done = deck.run("-l", deck.name, "trace", "pod2", "pod3", "-o", "json", "--html", str(page), ok=3)
    finally:
        deck.inside("node2", "iptables", "-D", "FORWARD", "-p", "icmp", "-j", "DROP")
    document = json.loads(done.stdout)
    assert document["drop"]["check"] == "netfilter"
    chromium.open(page, f"#hop-{len(document['hops'])}")
    assert chromium.ask("document.querySelector('.picture.wide .leg.now .cross text').textContent") == "✕ netfilter"
    assert document["drop"]["text"] in chromium.ask("document.querySelector('.step.now .drop').innerText")
    assert chromium.ask("document.querySelector('.picture.wide .box.chosen').textContent") == "table main"
    assert chromium.trouble == []


def test_one_face_may_go_to_stdout_in_place_of_the_table(deck: Labs, tmp_path: Path) -> None:
    done = deck.run("-l", deck.name, "trace", "pod1", "pod2", "--mermaid", "-")
    assert done.stdout.startswith("sequenceDiagram\n") and "delivered" in done.stdout and "ttl 64\n" not in done.stdout
    for words in (("--mermaid", "-", "--svg", "-"), ("-o", "json", "--html", "-")):
        assert "stdout" in deck.run("-l", deck.name, "trace", "pod1", "pod2", *words, ok=2).stderr
    refused = deck.run("-l", deck.name, "trace", "pod1", "pod2", "--html", str(tmp_path / "nowhere" / "t.html"), ok=2)
    assert "No such file or directory" in refused.stderr
