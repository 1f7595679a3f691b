"""The logs of a node: levels, form, one write for many lines, and what happens when a file cannot be written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from labnet.lab.node_logs import FLUSH_S, Line, LogFile, NodeLogs
from labnet.sim.clock import LabClock, new_event_loop

START_S = 1_700_000_000.25
PATH = "/var/log/aws-routed-eni/ipamd.log"


class OneNode:
    def __init__(self, root: Path | None) -> None:
        self.clock = LabClock(start_s=START_S)
        self.loop = new_event_loop(self.clock)
        self.said: list[str] = []
        self.root = root
        self.logs = NodeLogs("node1", self.clock, lambda path: None if root is None else root / path[1:], self.said.append)

    def run(self, work) -> None:
        async def main() -> None:
            work()
            await self.clock.sleep(FLUSH_S)

        self.loop.run_until_complete(main())
        self.logs.flush()

    def lines(self, path: str = PATH) -> list[dict[str, str]]:
        assert self.root is not None
        return [json.loads(line) for line in (self.root / path[1:]).read_text().splitlines()]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[OneNode]:
    node = OneNode(tmp_path)
    yield node
    node.logs.close()
    node.loop.close()


def test_a_line_is_json_with_level_time_and_message(one: OneNode) -> None:
    one.run(lambda: one.logs.ipamd(PATH, "debug").info('add "pod"\nnext'))
    assert one.lines() == [{"level": "info", "ts": "2023-11-14T22:13:20.250Z", "msg": 'add "pod"\nnext'}]


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("DEBUG", ["debug", "info", "warn", "error"]), ("info", ["info", "warn", "error"]), ("Warn", ["warn", "error"]), ("ERROR", ["error"]),
        ("fatal", []), ("nonsense", ["debug", "info", "warn", "error"]), ("", ["debug", "info", "warn", "error"]),
    ],
)
def test_only_the_level_and_above_is_kept(one: OneNode, level: str, kept: list[str]) -> None:
    log = one.logs.ipamd(PATH, level)

    def say() -> None:
        for word in ("debug", "info", "warn", "error"):
            getattr(log, word)(word)
        one.logs.ipamd("/var/log/other.log", "debug").info("there")

    one.run(say)
    path = one.root / PATH[1:] if one.root else Path()
    assert [line["msg"] for line in one.lines()] == kept if kept else not path.exists()
    assert [line["msg"] for line in one.lines("/var/log/other.log")] == ["there"]


def test_a_name_that_is_no_text_spoils_neither_its_line_nor_the_others(one: OneNode) -> None:
    log = one.logs.ipamd(PATH, "debug")
    one.run(lambda: [log.info(word) for word in ("before", "pod \udcff", "after")])
    one.run(lambda: log.info("later"))
    assert [line["msg"] for line in one.lines()] == ["before", "pod ?", "after", "later"]
    stream = one.logs.ipamd("stdout", "debug")
    one.run(lambda: stream.info("pod \udcff"))
    assert '"msg":"pod ?"' in one.said[-1]


def test_ipamd_and_plugin_share_a_file_in_order(one: OneNode) -> None:
    ipamd, plugin = one.logs.ipamd(PATH, "debug"), one.logs.plugin(PATH, "info")

    def say() -> None:
        ipamd.info("1")
        plugin.info("2")
        ipamd.info("3")

    one.run(say)
    assert [line["msg"] for line in one.lines()] == ["1", "2", "3"]


def test_what_is_there_stays_when_a_log_is_opened_again(one: OneNode) -> None:
    one.run(lambda: one.logs.ipamd(PATH, "debug").info("before"))
    one.logs.close()
    one.run(lambda: one.logs.ipamd(PATH, "debug").info("after"))
    assert [line["msg"] for line in one.lines()] == ["before", "after"]


@pytest.mark.parametrize("stream", ["stdout", "stderr", ""])
def test_a_stream_is_the_log_of_the_labs_process(one: OneNode, stream: str) -> None:
    one.run(lambda: one.logs.plugin(stream, "info").error("no address"))
    assert len(one.said) == 1
    who, _, line = one.said[0].partition(": ")
    assert (who, json.loads(line)["msg"]) == ("aws-cni on node1", "no address")


def test_a_plan_keeps_no_logs() -> None:
    node = OneNode(None)
    node.run(lambda: node.logs.ipamd("stdout", "debug").error("x"))
    node.loop.close()
    assert node.said == []


def test_a_file_that_cannot_be_written_is_told_once_and_stops_nothing(one: OneNode) -> None:
    (one.root / "var").write_text("in the way")  # type: ignore[operator]
    log = one.logs.ipamd(PATH, "debug")
    one.run(lambda: log.info("one"))
    one.run(lambda: log.info("two"))
    assert len(one.said) == 1
    assert "cannot be written" in one.said[0]


def test_a_full_file_is_put_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    dirty: list[LogFile] = []
    file = LogFile(path, print, dirty.append, max_bytes=60)
    for number in range(4):
        file.add(Line("info", "now", f"{number}"))
        file.flush()
    file.close()
    assert dirty == [file] * 4
    assert path.read_text() == '{"level":"info","ts":"now","msg":"3"}\n'
    assert (tmp_path / "x.log.1").read_text() == '{"level":"info","ts":"now","msg":"2"}\n'
