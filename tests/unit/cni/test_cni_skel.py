"""The frame of plugins: what each verb needs, versions, errors, streams."""

import asyncio
import json

import pytest

from labnet.cni import skel, spec
from labnet.cni.result import Result, ResultIp
from labnet.cni.spec import NetnsGrant
from labnet.errors import CniError, KernelError

ENV = {
    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_NETNS": "/var/run/netns/x", "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "",
}
POD = NetnsGrant("pod")


class Recording:
    about = "a plugin"

    def __init__(self, fails=None):
        self.calls, self.fails = [], fails

    async def _called(self, call):
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails

    async def add(self, call):
        await self._called(call)
        return Result(ips=(ResultIp("10.0.0.5/32"),))

    delete = check = gc = status = _called


def config(version="0.4.0", **more):
    return json.dumps({"cniVersion": version, "name": "net", "type": "t", **more}).encode()


def run(plugin=None, stdin=None, netns=POD, **env):
    environ = {key: value for key, value in {**ENV, **env}.items() if value is not None}
    return asyncio.run(skel.run(environ, config() if stdin is None else stdin, plugin or Recording(), netns=netns))


def error(outcome):
    assert outcome.exit_code == 1
    said = json.loads(outcome.stdout)
    return said["code"], said["msg"]


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"), ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"), ("GC", "CNI_PATH"), ("STATUS", "CNI_PATH"),
    ],
)
def test_each_verb_names_every_variable_that_it_misses(verb, missing):
    empty = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"))
    assert error(run(CNI_COMMAND=verb, **empty)) == (4, f"required env variables [{missing}] missing")


def test_one_missing_variable_reads_as_published():
    assert error(run(CNI_NETNS="", CNI_PATH=None)) == (4, "required env variables [CNI_NETNS,CNI_PATH] missing")


def test_del_works_without_a_namespace():
    plugin = Recording()
    outcome = run(plugin, CNI_COMMAND="DEL", CNI_NETNS="", netns=None)
    assert (outcome.exit_code, outcome.stdout) == (0, b"")
    assert plugin.calls[0].netns is None


def test_add_prints_the_result_in_the_version_of_the_configuration():
    assert json.loads(run(stdin=config("1.0.0")).stdout) == {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/32"}]}
    assert json.loads(run(stdin=config("0.2.0")).stdout) == {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/32"}, "dns": {}}


def test_started_by_hand_it_says_what_it_is():
    outcome = run(CNI_COMMAND=None)
    assert outcome == skel.Outcome(0, b"", "a plugin\nCNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n")


def test_version_needs_nothing():
    outcome = asyncio.run(skel.run({"CNI_COMMAND": "VERSION"}, b"", Recording(), netns=None))
    assert (outcome.exit_code, outcome.stdout) == (0, spec.render_versions())


@pytest.mark.parametrize(
    ("verb", "too_old", "fine"), [("CHECK", "0.3.1", "0.4.0"), ("GC", "1.0.0", "1.1.0"), ("STATUS", "1.0.0", "1.1.0")]
)
def test_later_verbs_need_a_later_configuration(verb, too_old, fine):
    plugin = Recording()
    assert error(run(plugin, config(too_old), CNI_COMMAND=verb)) == (1, f"config version does not allow {verb}")
    assert error(run(plugin, config("2.0.0"), CNI_COMMAND=verb)) == (1, f"plugin version does not allow {verb}")
    assert run(plugin, config(fine), CNI_COMMAND=verb).exit_code == 0
    assert [call.verb for call in plugin.calls] == [verb]


def test_an_unknown_version_and_an_unknown_verb():
    outcome = run(stdin=config("0.9.0"))
    assert error(outcome) == (1, "incompatible CNI versions")
    assert json.loads(outcome.stdout)["details"].startswith('config is "0.9.0", plugin supports ["0.1.0" "0.2.0"')
    assert error(run(CNI_COMMAND="FROB")) == (4, "unknown CNI_COMMAND: FROB")


def test_bad_identifiers_are_refused_before_anything_else():
    assert error(run(CNI_CONTAINERID="../x", CNI_PATH=None)) == (4, "invalid characters in containerID")
    assert error(run(CNI_IFNAME="a/b"))[0] == 4


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (CniError(11, "later"), (11, "later")), (KernelError("apply", "ns", "link", 17), (999, "apply in ns: link: File exists (EEXIST)")),
        (RuntimeError("boom"), (999, "RuntimeError: boom")),
    ],
)
def test_a_failing_plugin_is_an_error_of_the_contract_never_a_traceback(fails, said):
    outcome = run(Recording(fails))
    assert error(outcome) == said
    assert outcome.stderr == ""


def test_the_plugins_own_namespace_is_refused_before_it_acts():
    plugin = Recording()
    own = NetnsGrant("node", own=True)
    assert error(run(plugin, netns=own))[0] == 8
    assert plugin.calls == []
    assert run(plugin, netns=own, CNI_NETNS_OVERRIDE="true").exit_code == 0


def test_prev_result_is_read_in_its_own_version():
    plugin = Recording()
    run(plugin, config("1.0.0", prevResult={"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.9/32"}}))
    assert plugin.calls[0].config.prev_result.ips == (ResultIp("10.0.0.9/32"),)
    assert error(run(stdin=config(prevResult=[])))[0] == 6


def test_bytes_that_are_no_text_do_not_break_the_answer():
    assert error(run(CNI_CONTAINERID="\udcff"))[0] == 4
