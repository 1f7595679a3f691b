"""Every number says where it comes from: a reference to docs/sources.md leads to a section."""

from __future__ import annotations

import re

import pytest
from test_structure import FILES, PACKAGE

SOURCES = PACKAGE.parent / "docs" / "sources.md"
REFERENCE = re.compile(r"docs/sources\.md#([\w-]+)")


def anchors() -> set[str]:
    headings = re.findall(r"^#+ (.+)$", SOURCES.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path", [path for path in FILES if REFERENCE.search(path.read_text())], ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_references_lead_somewhere(path: object) -> None:
    named = set(REFERENCE.findall(path.read_text()))  # type: ignore[attr-defined]
    assert named <= anchors()


def test_no_section_is_left_over() -> None:
    named = {one for path in FILES for one in REFERENCE.findall(path.read_text())}
    families = {"sources", "ipamd", "vpc-sysctls"}
    assert anchors() - named <= families
