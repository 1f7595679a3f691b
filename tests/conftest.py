"""What every test may ask for; kernel tests skip, and say so, where namespaces cannot be made."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples every time: a run says something of the change, not of the day; `--hypothesis-profile=search` looks further
settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("same")


def _can_unshare() -> bool:
    """Try it in a thread of its own: the test process itself stays where it is."""
    answer: list[bool] = []

    def work() -> None:
        answer.append(ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return answer[0]


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, under a short name: sockets of labs lie below it, and their paths have 107 bytes."""
    return tmp_path_factory.mktemp("t")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh-golden", action="store_true", help="write the files below tests/golden anew instead of comparing")


os.environ.setdefault("LABNET_LOAD_AHEAD", "0")  # hundreds of labs live for seconds here: what a trace needs is loaded by the first trace

LONGEST = (
    "test_scenarios", "test_set_env", "test_corpus_nodes", "test_hybrid", "test_node_ports", "test_explain_labs", "test_ec2_behaviour",
    "test_packet_paths", "test_two_zones", "test_custom_networking", "test_pod_pairs", "test_eks_current",
)
"""Files that take half a minute and more by themselves: they begin first, so that at the end nobody waits for one of them."""


def _place(item: pytest.Item) -> int:
    if item.path.stem in LONGEST:
        return LONGEST.index(item.path.stem)
    return len(LONGEST) + (not item.path.is_relative_to(Path(__file__).parent / "kernel"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_place)  # with xdist's --no-loadscope-reorder; else it has an order of its own
    if not any(item.get_closest_marker("kernel") for item in items) or (os.geteuid() == 0 and _can_unshare()):
        return
    skip = pytest.mark.skip(reason="needs root and the right to make network namespaces")
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(skip)
