"""A runtime's order of calls, what it hands on, what it remembers; both carriers alike."""

import asyncio
import base64
import json

import pytest

from labnet.cni.conflist import parse_conflist, plugin_stdin
from labnet.cni.registry import Registry
from labnet.cni.result import Result, ResultInterface, ResultIp
from labnet.cni.results import FileResults, MemoryResults
from labnet.cni.runtime import Attachment, Exec, InProcess, Runtime
from labnet.cni.spec import NetnsGrant
from labnet.errors import CniError
from labnet.sim.clock import LabClock

POD = Attachment("abc", "/var/run/netns/pod", args="IgnoreUnknown=1;K8S_POD_NAME=web", netns=NetnsGrant("pod"))


class Plugin:
    about = "a plugin"

    def __init__(self, name, log, fails=()):
        self.name, self.log, self.fails = name, log, fails

    def note(self, call):
        self.log.append((call.verb, self.name, call.config.prev_result))
        if call.verb in self.fails:
            raise CniError(101, "cannot", "why")

    async def add(self, call):
        self.note(call)
        before = call.config.prev_result or Result(ips=(ResultIp("10.0.0.5/32"),))
        return Result((*before.interfaces, ResultInterface(self.name)), before.ips)

    async def delete(self, call):
        self.note(call)

    check = gc = status = delete


def make(log, version="0.4.0", results=None, fails=(), **more):
    plugins = {"one": Plugin("one", log), "two": Plugin("two", log, fails)}
    document = {"cniVersion": version, "name": "net", "plugins": [{"type": "one"}, {"type": "two"}], **more}
    return Runtime(parse_conflist(document), results or MemoryResults(), in_process=InProcess(Registry(plugins)))


def test_add_goes_forward_and_hands_each_result_on_del_backwards_with_the_last():
    log = []
    runtime = make(log)

    async def both():
        result = await runtime.add(POD)
        await runtime.delete(POD)
        return result

    result = asyncio.run(both())
    assert [item.name for item in result.interfaces] == ["one", "two"]
    assert [(verb, name) for verb, name, _previous in log] == [("ADD", "one"), ("ADD", "two"), ("DEL", "two"), ("DEL", "one")]
    assert log[0][2] is None
    assert [item.name for item in log[1][2].interfaces] == ["one"]
    assert log[2][2] == log[3][2] == result
    assert runtime.remembered(POD) is None


def test_del_before_0_4_0_gets_no_result():
    log = []
    runtime = make(log, "0.3.1")

    async def both():
        await runtime.add(POD)
        await runtime.delete(POD)

    asyncio.run(both())
    assert [previous for verb, _name, previous in log if verb == "DEL"] == [None, None]


def test_check_goes_forward_with_the_remembered_result_unless_disabled():
    log = []
    runtime, quiet = make(log), make(log, disableCheck=True)

    async def both(runtime):
        await runtime.add(POD)
        log.clear()
        await runtime.check(POD)

    asyncio.run(both(runtime))
    assert [(verb, name, len(previous.interfaces)) for verb, name, previous in log] == [("CHECK", "one", 2), ("CHECK", "two", 2)]
    asyncio.run(both(quiet))
    assert log == []


def test_a_failing_plugin_is_named_and_nothing_is_remembered():
    runtime = make([], fails=("ADD", "DEL"))
    with pytest.raises(CniError) as caught:
        asyncio.run(runtime.add(POD))
    assert str(caught.value) == 'plugin type="two" name="net" failed (add): cannot; why'
    assert caught.value.number == 101
    assert runtime.remembered(POD) is None
    with pytest.raises(CniError, match=r"failed \(delete\)"):
        asyncio.run(runtime.delete(POD))


def test_a_type_that_nobody_provides():
    runtime = Runtime(parse_conflist({"name": "net", "plugins": [{"type": "bridge"}]}), MemoryResults())
    with pytest.raises(CniError, match=r'failed to find plugin "bridge" in path \[/opt/cni/bin\]'):
        asyncio.run(runtime.add(POD))


def test_the_remembered_file_has_the_shape_that_runtimes_share(tmp_path):
    runtime = make([], results=FileResults(tmp_path / "results"))
    asyncio.run(runtime.add(POD))
    (file,) = (tmp_path / "results").iterdir()
    entry = json.loads(file.read_text())
    assert file.name == "net-abc-eth0"
    assert json.loads(base64.b64decode(entry.pop("config")))["name"] == "net"
    assert entry == {
        "kind": "cniCacheV1", "containerId": "abc", "ifName": "eth0", "networkName": "net", "netns": "/var/run/netns/pod",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "web"]],
        "result": {
            "cniVersion": "0.4.0", "interfaces": [{"name": "one"}, {"name": "two"}], "ips": [{"version": "4", "address": "10.0.0.5/32"}],
            "dns": {},
        },
    }
    file.write_text("{")
    assert runtime.remembered(POD) is None


def test_exec_carries_environment_stdin_and_the_opened_namespace(tmp_path):
    seen = {}
    clock = LabClock(0.0)
    netns = tmp_path / "netns"
    netns.write_text("")

    async def spawn(argv, environ, stdin, descriptors):
        seen.update(argv=argv, environ=dict(environ), stdin=json.loads(stdin), descriptors=descriptors, in_flight=clock.jump())
        return 0, b'{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.5/32"}],"dns":{}}', ""

    document = {"cniVersion": "0.4.0", "name": "net", "plugins": [{"type": "one", "key": "value"}]}
    both = {"in_process": InProcess(Registry({"one": Plugin("one", [])})), "exec_": Exec(spawn, clock)}
    runtime = Runtime(parse_conflist(document), MemoryResults(), always_exec=True, **both)
    result = asyncio.run(runtime.add(Attachment("abc", str(netns), args="A=b", netns=NetnsGrant("pod"))))
    assert result.ips == (ResultIp("10.0.0.5/32"),)
    assert seen["argv"] == ("/opt/cni/bin/one",)
    (descriptor,) = seen["descriptors"]
    assert seen["environ"] == {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_NETNS": str(netns), "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
        "CNI_ARGS": "A=b", "LABNET_NETNS_FD": str(descriptor),
    }
    assert seen["stdin"] == {"type": "one", "key": "value", "name": "net", "cniVersion": "0.4.0"}
    assert not seen["in_flight"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((1, b'{"code": 7, "msg": "bad"}', ""), "bad"), ((2, b"panic", ""), 'netplugin failed: "panic"'),
        ((2, b"", "oops\n"), 'netplugin failed with no error message: "oops\\n"'), ((0, b"{", ""), "not JSON"),
        ((0, b"[]", ""), "not an object"),
    ],
)
def test_programs_that_do_not_keep_to_the_contract(answer, said):
    async def spawn(*_all):
        return answer

    runtime = Runtime(parse_conflist({"name": "net", "plugins": [{"type": "one"}]}), MemoryResults(), exec_=Exec(spawn, LabClock(0.0)))
    with pytest.raises(CniError) as caught:
        asyncio.run(runtime.add(POD))
    assert said in str(caught.value)


def test_only_what_a_plugin_can_use_is_offered():
    conflist = parse_conflist({"name": "net", "plugins": [{"type": "portmap", "capabilities": {"portMappings": True, "dns": False}}]})
    stdin = json.loads(plugin_stdin(conflist, conflist.plugins[0], None, {"portMappings": [], "dns": {}, "mac": "x"}))
    assert stdin["runtimeConfig"] == {"portMappings": []}


@pytest.mark.parametrize(
    "document", [{}, {"name": "a b", "plugins": [{"type": "x"}]}, {"name": "n", "plugins": []}, {"name": "n", "plugins": [{"type": "../x"}]},
                 {"name": "n", "cniVersion": "7", "plugins": [{"type": "x"}]}, {"name": 1}],
)
def test_lists_that_cannot_be_run(document):
    with pytest.raises(CniError):
        parse_conflist(document)


def test_a_type_is_registered_once():
    registry = Registry({"one": Plugin("one", [])})
    with pytest.raises(ValueError, match="registered already"):
        registry.register("one", Plugin("one", []))
    assert registry.types == ("one",)
