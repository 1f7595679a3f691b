"""The page of a trace in a real browser: it loads nothing, says nothing wrong, moves the packet by keys, and shows a drop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from builders_faces import HOSTILE, a_scene, across_nodes, both_ways, by_nat_gateway, dropped, hostile

from labnet.trace.render.html import render_html
from tests.chromium import Chromium

WIDE, PHONE = (1280, 800), (390, 844)
TRACES = {"across": across_nodes(), "dropped": dropped(), "both": both_ways(), "nat": by_nat_gateway()}

STEP = "Number(document.documentElement.dataset.step)"
DATA = "JSON.parse(document.getElementById('data').textContent)"
PACKET = "(() => { const m = document.querySelector('.picture.%s .packet').transform.baseVal[0].matrix; return [m.e, m.f]; })()"
SHOWN = "[...document.querySelectorAll('.step')].filter((one) => one.getClientRects().length).map((one) => one.dataset.step)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def page(tmp_path: Path) -> Any:
    def written(document: Any, scene: Any = None) -> Path:
        file = tmp_path / "trace.html"
        file.write_text(render_html(document, a_scene() if scene is None else scene), "utf-8")
        return file

    return written


def nothing_wrong(chromium: Chromium, file: Path) -> None:
    assert chromium.trouble == []
    assert [url.partition("#")[0] for url in chromium.requests] == [file.as_uri()]


@pytest.mark.parametrize("name", TRACES)
def test_the_keys_take_the_packet_to_every_hop(chromium: Chromium, page: Any, name: str) -> None:
    file = page(TRACES[name])
    chromium.open(file)
    steps = chromium.ask(DATA)["steps"]
    places = []
    for number, step in enumerate(steps, 1):
        assert chromium.ask(STEP) == number
        assert chromium.ask(SHOWN) == [str(number)]
        assert chromium.ask("document.querySelectorAll('.seg.done').length") > 0 or number == 1
        assert chromium.ask("document.getElementById('count').textContent") == step["title"]
        place = chromium.ask(PACKET % "wide")
        if not step["lost"]:
            assert place == pytest.approx(step["at"]["wide"], abs=0.1)
        places.append(tuple(place))
        chromium.press("ArrowRight")
    assert chromium.ask(STEP) == len(steps)  # there is no further
    assert all(one != other for one, other in pairwise(places) if name != "both")
    chromium.press("ArrowLeft")
    assert chromium.ask(STEP) == len(steps) - 1
    chromium.press("Home")
    assert chromium.ask(STEP) == 1
    chromium.press("End")
    assert chromium.ask(STEP) == len(steps)
    nothing_wrong(chromium, file)


def test_a_drop_is_shown_at_the_last_hop_only(chromium: Chromium, page: Any) -> None:
    file = page(dropped())
    chromium.open(file)
    strength = "getComputedStyle(document.querySelector('.picture.wide .cross')).opacity"
    dead = "getComputedStyle(document.querySelector('.picture.wide .dead')).display"
    assert float(chromium.ask(strength)) < 0.5 and chromium.ask(dead) == "none"
    chromium.press("End")
    assert (chromium.ask(STEP), float(chromium.ask(strength)), chromium.ask(dead)) == (6, 1, "inline")
    assert "would pass with rp_filter=2 on eth0" in chromium.ask("document.querySelector('.step.now .drop').innerText")
    end = chromium.ask("(() => { const p = document.querySelector('.picture.wide .seg.lost'); const q = p.getPointAtLength(p.getTotalLength());"
                       " return [q.x, q.y]; })()")
    assert chromium.ask(PACKET % "wide") == pytest.approx(end, abs=0.1)
    nothing_wrong(chromium, file)


def test_it_plays_by_itself_and_pauses(chromium: Chromium, page: Any) -> None:
    file = page(dropped())
    chromium.open(file, still=False)
    start, steps = chromium.ask(PACKET % "wide"), chromium.ask(DATA)["steps"]
    chromium.press(" ")
    chromium.until(f"{STEP} === 2")
    chromium.until(f"JSON.stringify({PACKET % 'wide'}) !== '{start}'.replaceAll(' ', '')")
    chromium.press(" ")
    assert not chromium.ask("document.documentElement.classList.contains('playing')")
    paused = chromium.ask(STEP)
    x, y = steps[paused - 1]["at"]["wide"]
    chromium.until(f"(([x, y]) => Math.abs(x - {x}) < 0.2 && Math.abs(y - {y}) < 0.2)({PACKET % 'wide'})")
    chromium.press(" ")
    chromium.until(f"{STEP} === 6 && !document.documentElement.classList.contains('playing')")
    nothing_wrong(chromium, file)


def test_slider_buttons_links_and_the_address_lead_to_a_hop(chromium: Chromium, page: Any) -> None:
    file = page(across_nodes())
    chromium.open(file, "#hop-5")
    assert chromium.ask(STEP) == 5 and chromium.ask("scrollY") == 0
    chromium.ask("document.getElementById('next').click()")
    assert chromium.ask(STEP) == 6
    chromium.ask("(() => { const s = document.getElementById('slider'); s.focus(); s.value = 3; s.dispatchEvent(new Event('input')); })()")
    assert chromium.ask(STEP) == 3 and chromium.ask("document.getElementById('slider').max") == "8"
    chromium.press("ArrowRight")  # one step, not one by the page and one by the slider itself
    assert chromium.ask(STEP) == 4
    chromium.ask("document.querySelector('a[href=\"#hop-8\"]').click()")
    assert chromium.ask(STEP) == 8
    assert chromium.ask("document.querySelector('tr.now').dataset.step") == "8"
    assert chromium.ask("document.getElementById('next').getAttribute('aria-disabled')") == "true"


def test_there_and_back_are_shown_one_at_a_time(chromium: Chromium, page: Any) -> None:
    chromium.open(page(both_ways()), "#hop-9")
    legs = "[...document.querySelectorAll('.picture.wide .leg.now')].map((one) => one.dataset.leg)"
    assert set(chromium.ask(legs)) == {"1"}
    assert chromium.ask("document.getElementById('count').textContent").startswith("back, hop 1 of 8")
    chromium.press("ArrowLeft")
    assert set(chromium.ask(legs)) == {"0"}


def test_without_scripts_everything_is_there_to_read(chromium: Chromium, page: Any) -> None:
    file = page(dropped())
    chromium.open(file, scripts=False)
    text = chromium.ask("document.body.innerText")
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    for words in (
        "dropped at hop 6", "1536: from 10.10.0.9 lookup 2", "would pass with rp_filter=2 on eth0", "Destination MAC", "02:00:00:00:00:05",
    ):
        assert words in text, words
    nothing_wrong(chromium, file)


def test_markup_in_a_text_does_nothing(chromium: Chromium, page: Any) -> None:
    file = page(*hostile())
    chromium.open(file, "#hop-6")
    assert chromium.ask("document.querySelectorAll('img').length + document.scripts.length") == 2
    assert HOSTILE[:40] in chromium.ask("document.querySelector('.step.now .drop').innerText")
    nothing_wrong(chromium, file)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", TRACES)
def test_no_text_is_cut_or_covered_and_the_page_is_no_wider_than_the_window(chromium: Chromium, page: Any, name: str, size: Any) -> None:
    chromium.open(page(TRACES[name]), size=size)
    chromium.press("End")
    assert chromium.ask("document.documentElement.scrollWidth") <= size[0]
    pictures = "[...document.querySelectorAll('.picture')].filter((one) => one.getClientRects().length)"
    assert chromium.ask(f"{pictures}.map((one) => one.classList[1])") == ["wide" if size == WIDE else "tall"]
    cut = chromium.ask(f"""{pictures}.flatMap((svg) => [...svg.querySelectorAll('.box, .cross, .badge')]).flatMap((box) => {{
      const frame = box.querySelector('rect').getBBox();
      return [...box.querySelectorAll('text')].filter((text) => {{
        const b = text.getBBox();
        const right = frame.x + frame.width, bottom = frame.y + frame.height;
        return b.x < frame.x - 1 || b.x + b.width > right + 1 || b.y < frame.y - 1 || b.y + b.height > bottom + 2;
      }}).map((text) => text.textContent);
    }})""")
    assert cut == []
    covered = chromium.ask(f"""{pictures}.flatMap((svg) => {{
      const texts = [...svg.querySelectorAll('.box text, .leg.now .cross text')].map((text) => [text.textContent, text.getBBox()]);
      const over = [];
      texts.forEach(([one, a], i) => texts.slice(i + 1).forEach(([other, b]) => {{
        if (a.x < b.x + b.width && b.x < a.x + a.width && a.y + 2 < b.y + b.height - 2 && b.y + 2 < a.y + a.height - 2) over.push([one, other]);
      }}));
      return over;
    }})""")
    assert covered == []
    overlap = chromium.ask("""(() => {
      const [stage, panels, below] = ['.stage', '.panels', '.below'].map((one) => document.querySelector(one).getBoundingClientRect());
      const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
      return hit(stage, panels) || hit(panels, below) || hit(stage, below);
    })()""")
    assert overlap is False


def test_it_is_dark_where_the_reader_wants_it_dark(chromium: Chromium, page: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    file = page(across_nodes())
    chromium.open(file, dark=True)
    assert chromium.ask(paper) < 60
    chromium.press("d")
    assert chromium.ask(paper) > 200
    chromium.open(file)
    assert chromium.ask(paper) > 200
    chromium.press("d")
    assert chromium.ask(paper) < 60
