"""What a kernel cannot do between zones is refused by name, with exit code 4; `doctor` tries the same."""

from __future__ import annotations

import pytest

from labnet.errors import EXIT_UNFIT, PrerequisiteError
from labnet.kernel import preflight

pytestmark = pytest.mark.kernel


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A kernel that refuses one of the trials."""
    trials = tuple((word, "echo no such target >&2; false" if word == name else line, *rest) for word, line, *rest in preflight._TRIALS)
    monkeypatch.setattr(preflight, "_TRIALS", trials)


def test_this_kernel_can(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {finding.name: finding for finding in preflight.probe()}
    assert found[preflight.LOSS].ok and found[preflight.LATENCY].ok
    assert "latency between zones" in found[preflight.LATENCY].detail
    preflight.check_zone_links(loss=True, latency=True)


@pytest.mark.parametrize(
    ("name", "asked"), [(preflight.LOSS, {"loss": True, "latency": False}), (preflight.LATENCY, {"loss": False, "latency": True})],
)
def test_what_is_missing_is_refused_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, name: str, asked: dict[str, bool]) -> None:
    without(monkeypatch, name)
    with pytest.raises(PrerequisiteError, match=name) as refused:
        preflight.check_zone_links(**asked)
    assert refused.value.exit_code == EXIT_UNFIT and "labnet doctor" in refused.value.hint
    preflight.check_zone_links(**{word: not wanted for word, wanted in asked.items()})
    finding = next(one for one in preflight.probe() if one.name == name)
    assert not finding.ok and not finding.needed
