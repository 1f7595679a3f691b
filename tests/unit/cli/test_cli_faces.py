"""`labnet trace --html, --svg, --mermaid`: what is asked of the lab and what goes where."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders_faces import a_scene, across_nodes


@pytest.fixture(autouse=True)
def traced(backend) -> None:
    backend.answers["trace"] = {"text": "1 pod2 eth0\n", "json": across_nodes(), "scene": a_scene()}


def test_each_face_is_a_file_beside_the_table(run, backend, tmp_path: Path) -> None:
    files = {face: tmp_path / face for face in ("html", "svg", "mermaid")}
    ran = run("trace", "pod2", "pod3", *(word for face, file in files.items() for word in (f"--{face}", str(file))))
    assert (ran.code, ran.out) == (0, "1 pod2 eth0\n")
    starts = {"html": "<!doctype html>", "svg": "<svg ", "mermaid": "sequenceDiagram\n"}
    for face, file in files.items():
        assert file.read_text("utf-8").startswith(starts[face])
        assert f"wrote {file}" in ran.err
    assert backend.asked[-1][-1]["scene"] is True
    assert "node1" in files["html"].read_text("utf-8") and "scenario eks-2node" in files["html"].read_text("utf-8")


def test_the_scene_is_asked_for_only_where_it_is_drawn(run, backend) -> None:
    run("trace", "pod2", "pod3", "--mermaid", "-")
    assert "scene" not in backend.asked[-1][-1]


@pytest.mark.parametrize(("face", "start"), [("html", "<!doctype html>"), ("svg", "<svg "), ("mermaid", "sequenceDiagram\n")])
def test_a_dash_is_stdout_in_place_of_the_table(run, face: str, start: str) -> None:
    ran = run("trace", "pod2", "pod3", f"--{face}", "-")
    assert ran.code == 0 and ran.out.startswith(start) and ran.out.endswith("\n") and not ran.out.endswith("\n\n")
    assert "1 pod2 eth0\n" not in ran.out and ran.err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--svg", "-", "--mermaid", "-"), "only one of --svg and --mermaid can go to stdout"),
        (("-o", "json", "--html", "-"), "-o json and a picture cannot both go to stdout"),
        (("--html", "/nowhere/t.html"), "/nowhere/t.html: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_refused(run, words: tuple[str, ...], said: str) -> None:
    ran = run("trace", "pod2", "pod3", *words)
    assert ran.code == 2 and said in ran.err
