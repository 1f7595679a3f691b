from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from labnet.cli.verb_lab import age
from labnet.errors import LabnetError, PrerequisiteError

# ---- up, down, ls ---------------------------------------------------------------------------------------------------------


def test_up_says_what_it_did_on_stderr_and_nothing_on_stdout(run, backend) -> None:
    ran = run("up", "eks-2node")
    assert (ran.code, ran.out) == (0, "")
    assert "lab eks is up: 1 node, 2 pods (1 not running) in " in ran.err
    assert ("up", "eks", Path("/run/labnet"), None, 120.0) in backend.asked


def test_up_on_a_running_lab_reads_no_scenario(run, backend) -> None:
    result = run("up", "running.yaml", "--name", "eks", "--set", "seed=7")
    assert result.code == 0
    assert [call[0] for call in backend.asked if call[0] in ("load", "up", "up_again")] == ["up_again"]
    assert next(call for call in backend.asked if call[0] == "up_again")[:3] == ("up_again", "running.yaml", ("seed=7",))


def test_up_off_a_terminal_prints_a_stage_once(run) -> None:
    lines = run("up", "eks-2node").err.splitlines()
    assert lines[:2] == ["starting nodes 2/2", "waiting for pods"]


def test_up_passes_its_words_on(run, backend) -> None:
    run("up", "x.yaml", "--name", "mine", "--set", "seed=1", "--set", "a.b=c", "--timeout", "1m30s")
    assert backend.asked[0] == ("load", "x.yaml", ("seed=1", "a.b=c"))
    assert backend.asked[1][3:] == ("mine", 90.0)


def test_up_prints_the_status_when_it_is_asked_for(run) -> None:
    assert json.loads(run("up", "eks-2node", "-o", "json").out)["kind"] == "Status"
    assert run("-o", "name", "up", "eks-2node").out == "node/node1\npod/default/pod1\npod/shop/web\n"


def test_up_wait_holds_the_lab(run, backend) -> None:
    ran = run("up", "eks-2node", "--wait")
    assert backend.asked[-1] == ("hold", "eks")
    assert ran.err.endswith("lab eks is down\n")
    assert "hold" not in [words[0] for words in backend.asked[:-1]]


def test_up_without_wait_does_not_hold(run, backend) -> None:
    run("up", "eks-2node")
    assert "hold" not in [words[0] for words in backend.asked]


def test_up_as_the_first_process_stays(run, backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labnet.cli.verb_lab.os.getpid", lambda: 1)
    run("up", "eks-2node")
    assert backend.asked[-1] == ("hold", "eks")


def test_dry_run_makes_nothing(run, backend) -> None:
    ran = run("up", "eks-2node", "--dry-run")
    assert [words[0] for words in backend.asked] == ["load", "plan"]
    assert "+ 10.10.0.4/19 dev eth0" in ran.out


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("2m", 120), ("1h30m", 5400), ("500ms", 0.5), ("45", 45), ("1.5m", 90), ("1m30s", 90), ("1m5", 65)],
)
def test_durations(run, backend, text: str, seconds: float) -> None:
    run("up", "x", "--timeout", text)
    assert backend.asked[1][4] == seconds


@pytest.mark.parametrize("text", ["", "x", "5x", "-3s", "s", "3 days", "1s2m"])
def test_what_is_no_duration(run, text: str) -> None:
    ran = run("up", "x", f"--timeout={text}")
    assert ran.code == 2
    assert "is no duration; say 90s, 2m or 1h30m" in ran.err


def test_an_invalid_scenario_is_exit_2_with_its_line(run) -> None:
    assert run("up", "bad.yaml") == (2, "", "error: bad.yaml:3: nods: unknown key 'nods'\nhint: did you mean nodes?\n")


@pytest.mark.parametrize(
    ("words", "found"), [((), ((), False)), (("a", "b"), (("a", "b"), False)), (("--all",), ((), True)), (("-l", "x"), (("x",), False))],
)
def test_down_takes_what_was_named(run, backend, words: tuple[str, ...], found: Any) -> None:
    ran = run("down", *words)
    assert backend.asked[0] == ("find_labs", *found)
    assert ran.code == 0
    assert "is down" in ran.err


def test_down_twice_is_fine(run, backend) -> None:
    backend.running = []
    assert run("down") == (0, "", "nothing to do: no lab is running\n")
    assert run("down", "--all") == (0, "", "nothing to do: no lab is running\n")
    ran = run("down", "eks")
    assert ran.code == 0
    assert "nothing to do" in ran.err


def test_down_prints_names_when_asked(run) -> None:
    assert run("down", "-o", "name").out == "lab/eks\n"


def test_down_all_beside_a_name(run) -> None:
    assert run("down", "eks", "--all").code == 2


def test_ls(run, backend) -> None:
    head, row = run("ls").out.splitlines()
    assert head.split() == ["LAB", "STATE", "NODES", "PODS", "AGE", "SCENARIO"]
    assert row.split()[:4] == ["eks", "running", "2", "3"]
    assert run("ls", "-o", "wide").out.splitlines()[1].split()[-1] == "7"
    assert json.loads(run("ls", "-o", "json").out) == {"apiVersion": "labnet/v1", "kind": "LabList", "labs": backend.labs(Path("/"))}
    assert run("ls", "-o", "name").out == "lab/eks\n"


def test_ls_without_labs(run, backend) -> None:
    backend.running = []
    assert run("ls") == (0, "", "no lab is running; 'labnet up eks-2node' makes one\n")
    assert json.loads(run("ls", "-o", "json").out)["labs"] == []
    assert run("ls", "-o", "name") == (0, "", "")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (3_599, "59m"), (7_200, "2h"), (200_000, "2d")])
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


# ---- status ---------------------------------------------------------------------------------------------------------------


def test_status_as_a_table(run) -> None:
    assert run("status").out == (
        "lab eks: running, scenario eks-2node\n"
        "\n"
        "NODE   TYPE     PUBLIC IP  ENI   SUBNET    IP         TABLE  USED  WARM  COOLING  MAX\n"
        "node1  t3.nano  54.0.0.1   eth0  public-a  10.10.0.4  main   1     0     0        1\n"
        "                           eth1  public-a  10.10.0.6  2      0     1     0        1\n"
        "\n"
        "POD       NODE   STATUS                  IP         ENI   TABLE  HOST LINK\n"
        "pod1      node1  Running                 10.10.0.5  eth0  main   eniabc\n"
        "shop/web  -      Pending: Unschedulable  -          -     -      -\n"
    )


def test_status_wide_has_ids_and_namespaces(run) -> None:
    out = run("status", "-o", "wide").out
    for part in ("eni-2", "02:00:00:00:00:02", "i-1", "eks-node1", "eks-shop.web", "MAX PODS"):
        assert part in out


def test_status_in_other_forms(run) -> None:
    assert json.loads(run("status", "-o", "json").out)["nodes"][0]["enis"][1]["table"] == 2
    assert yaml.safe_load(run("status", "-o", "yaml").out)["pods"][0]["hostLink"] == "eniabc"
    assert run("status", "-o", "name").out == "node/node1\npod/default/pod1\npod/shop/web\n"


# ---- exec, env ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "target", "argv"),
    [
        (("node1", "--", "ip", "rule"), "node1", ("ip", "rule")), (("pod1", "ls", "-l", "--color"), "pod1", ("ls", "-l", "--color")),
        (
            ("-l", "x", "pod1", "--", "sh", "-c", "a -- b"), "pod1", ("sh", "-c", "a -- b")), (("pod1", "--", "ls", "--",
            "-o"), "pod1", ("ls", "--", "-o"),
        ),
    ],
)
def test_exec_passes_the_command_untouched(run, backend, words: tuple[str, ...], target: str, argv: tuple[str, ...]) -> None:
    run("exec", *words)
    assert backend.asked[-1][2:] == (target, argv)


def test_exec_returns_the_programs_exit_code(run, backend) -> None:
    backend.exit_code = 42
    assert run("exec", "node1", "--", "false") == (42, "", "")


@pytest.mark.parametrize("words", [("node1",), ("node1", "--"), ("node1", "-l", "x", "--", "ls"), ()])
def test_exec_without_a_command(run, words: tuple[str, ...]) -> None:
    assert run("exec", *words).code == 2


def test_env_prints_lines_for_a_shell(run, backend) -> None:
    backend.answers["env"] = {"env": {"AWS_REGION": "us-west-2", "AWS_ACCESS_KEY_ID": "a b"}, "unset": ["AWS_PROFILE", "AWS_SESSION_TOKEN"]}
    assert run("env").out == "export AWS_REGION=us-west-2\nexport AWS_ACCESS_KEY_ID='a b'\nunset AWS_PROFILE AWS_SESSION_TOKEN\n"
    assert backend.asked[-1] == ("call", "eks", "env", {"inside": False})
    run("env", "--inside")
    assert backend.asked[-1] == ("call", "eks", "env", {"inside": True})
    assert json.loads(run("env", "-o", "json").out)["kind"] == "Environment"


# ---- trace, plan, events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("delivered", "code"), [(True, 0), (False, 3)])
def test_trace_prints_the_labs_text_and_its_verdict_is_the_exit_code(run, backend, delivered: bool, code: int) -> None:
    backend.answers["trace"] = {"text": "1 pod1 eth0\n", "json": {"kind": "Trace", "delivered": delivered}}
    assert run("trace", "pod1", "pod2") == (code, "1 pod1 eth0\n", "")
    assert json.loads(run("trace", "pod1", "pod2", "-o", "json").out) == {"kind": "Trace", "delivered": delivered}


def test_trace_passes_its_words_on(run, backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend.answers["trace"] = {"text": "", "json": {"delivered": True}}
    ran = run("trace", "pod1", "pod2:80", "--protocol", "tcp", "--port", "80", "--both-ways", "-v", "--pcap", "x.pcapng")
    asked = {
        "from": "pod1", "to": "pod2:80", "protocol": "tcp", "port": 80, "size": None, "bothWays": True, "rules": True,
        "pcap": str(tmp_path / "x.pcapng"),
    }
    assert backend.asked[-1] == ("call", "eks", "trace", asked)
    assert "wrote x.pcapng" in ran.err
    run("trace", "a", "b", "--size", "1500")
    assert backend.asked[-1][3] == {
        "from": "a", "to": "b", "protocol": None, "port": None, "size": 1500, "bothWays": False, "rules": False, "pcap": None,
    }


@pytest.mark.parametrize("words", [("--protocol", "icmp", "--port", "1"), ("--port", "0"), ("--protocol", "sctp"), ("--size", "20")])
def test_trace_refuses(run, words: tuple[str, ...]) -> None:
    assert run("trace", "a", "b", *words).code == 2


PASSES = {
    "way": "there", "kind": "eni", "id": "eni-1", "verdict": "passes", "code": None, "reason": "sends one of its own addresses",
    "packet": "10.10.0.4 → 10.10.0.5",
}
STOPS = {
    "way": "back", "kind": "network-acl", "id": "acl-1", "verdict": "stops", "code": "SUBNET_ACL_RESTRICTION",
    "reason": "inbound rule * denies it", "packet": "10.10.0.5 → 10.10.0.4",
}


def test_explain_tells_each_component_and_its_verdict_is_the_exit_code(run, backend) -> None:
    answer = {"kind": "Explanation", "from": "pod1", "to": "pod2", "protocol": "tcp", "port": 80}
    backend.answers["explain"] = {**answer, "reachable": True, "explanation": None, "components": [PASSES]}
    ran = run("explain", "pod1", "pod2", "--port", "80")
    assert (ran.code, ran.err) == (0, "pod1 → pod2, tcp 80: reachable\n")
    assert ran.out.splitlines() == [
        "WAY    COMPONENT  ID     PACKET                 VERDICT  WHY",
        "there  eni        eni-1  10.10.0.4 → 10.10.0.5  passes   sends one of its own addresses",
    ]
    asked = {"from": "pod1", "to": "pod2", "protocol": None, "port": 80, "size": None, "desired": False}
    assert backend.asked[-1] == ("call", "eks", "explain", asked)
    backend.answers["explain"] = {**answer, "reachable": False, "explanation": STOPS, "components": [PASSES, STOPS]}
    ran = run("explain", "pod1", "pod2", "--port", "80")
    assert (ran.code, ran.out.splitlines()[-1].split()[:3]) == (3, ["back", "network-acl", "acl-1"])
    told = "pod1 → pod2, tcp 80: not reachable: on the way back network-acl acl-1 inbound rule * denies it [SUBNET_ACL_RESTRICTION]\n"
    assert ran.err == told
    ran = run("explain", "pod1", "pod2", "-o", "json")
    assert (ran.code, json.loads(ran.out)["explanation"]["code"], ran.err) == (3, "SUBNET_ACL_RESTRICTION", "")
    assert run("explain", "a", "b", "--protocol", "icmp", "--port", "1").code == 2


def test_plan_is_grouped_by_namespace(run) -> None:
    ran = run("plan", "eks-2node")
    assert ran.out == (
        "eks-node1\n"
        "  [os]\n"
        "  + 10.10.0.4/19 dev eth0\n"
        "  ~ net.ipv4.ip_forward = 1\n"
        "  [ipamd]\n"
        "  + :AWS-SNAT-CHAIN-0 - [0:0]\n"
        "    -A AWS-SNAT-CHAIN-0 -j X\n"
        "\n"
        "eks-vpc\n"
        "  [fabric]\n"
        "  - 10.10.0.9 dev p1\n"
    )
    assert ran.err == "2 to add, 1 to change, 1 to remove in 2 namespaces\n"


def test_plan_of_the_running_lab(run, backend) -> None:
    run("plan")
    assert backend.asked[-1] == ("call", "eks", "plan", {})
    backend.answers["plan"] = {"kind": "Plan", "changes": []}
    assert run("plan") == (0, "", "nothing to do: the kernel is as planned\n")
    assert run("plan", "--set", "a=b").code == 2


def test_plan_tells_which_pods_would_not_run(run, backend) -> None:
    backend.answers["plan"] = {"kind": "Plan", "changes": [], "waitingFor": [{"pod": "default/p", "reason": "Unschedulable"}]}
    assert "pod default/p would not run: Unschedulable" in run("plan").err


def test_events(run, backend) -> None:
    event = {"kind": "Event", "time": 0.25, "lab": "eks", "object": "pod/default/pod1", "reason": "Started", "message": "ok"}
    backend.answers["events"] = {"events": [event, event]}
    lines = run("events").out.splitlines()
    assert lines[0].split() == ["TIME", "OBJECT", "REASON", "MESSAGE"]
    assert lines[1].split()[1:] == ["pod/default/pod1", "Started", "ok"]
    assert lines[1].split()[0].endswith(":00.250")
    assert [json.loads(line) for line in run("events", "-o", "json").out.splitlines()] == [event, event]
    backend.answers["events"] = {"events": []}
    assert run("events").err == "nothing happened yet\n"


# ---- check, repair, doctor ------------------------------------------------------------------------------------------------


def test_check_prints_every_check_and_its_exit_code_is_the_verdict(run, backend) -> None:
    ran = run("check")
    assert ran.code == 3
    assert ran.out == (
        "✓ pod1 → pod2 icmp: delivered\n"
        "✗ node1: ip rule\n"
        "    expected: equals 2 lines\n"
        "    seen:     missing: <x>\n"
        "    missing: <x>\n"
        "    printed:\n"
        "\n"
        "2 checks: 1 failed\n"
    )
    report = json.loads(run("check", "-o", "json").out)
    assert report["kind"] == "CheckReport"
    backend.answers["check"] = report | {"failed": 0, "checks": report["checks"][:1]}
    good = run("check", "eks-2node", "-l", "mine")
    assert (good.code, good.out.splitlines()[-1]) == (0, "1 check: all hold")
    assert backend.asked[-1] == ("check", "eks-2node", "mine")


def test_check_of_a_scenario_without_checks(run, backend) -> None:
    backend.answers["check"] = {"scenario": "x", "lab": "x", "failed": 0, "checks": []}
    assert run("check") == (0, "scenario x promises nothing: it has no checks\n", "")


def test_check_writes_junit(run, tmp_path: Path) -> None:
    assert run("check", "--junit", str(tmp_path / "r.xml")).code == 3
    suite = ElementTree.parse(tmp_path / "r.xml").getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("labnet.eks-2node", "2", "1")
    good, bad = suite
    assert (good.get("name"), good.get("classname"), len(good)) == ("pod1 → pod2 icmp: delivered", "eks.packet", 0)
    assert bad[0].get("message") == "expected equals 2 lines, seen missing: <x>"


def test_repair_shows_what_it_changed(run, backend) -> None:
    assert "~ net.ipv4.ip_forward = 1" in run("repair").out
    backend.answers["repair"] = {"changes": []}
    assert run("repair") == (0, "", "nothing to repair: the kernel is as planned\n")


def test_doctor(run, backend) -> None:
    good = {"name": "netns", "ok": True, "detail": "made and removed one", "hint": "", "needed": True}
    backend.probes = [good, good | {"name": "nft", "ok": False, "detail": "not found", "hint": "apt-get install nftables"}]
    ran = run("doctor")
    assert ran.code == 4
    assert [line.split()[:2] for line in ran.out.splitlines()] == [["WHAT", "STATE"], ["netns", "ok"], ["nft", "missing"]]
    assert ran.err == "nft: apt-get install nftables\n"
    document = json.loads(run("doctor", "-o", "json").out)
    assert (document["kind"], document["fit"]) == ("Probe", False)
    backend.probes = [good, good | {"name": "tcpdump", "ok": False, "needed": False, "hint": "nice to have"}]
    assert run("doctor").code == 0


# ---- scenario files -------------------------------------------------------------------------------------------------------


def test_scenarios(run) -> None:
    names = sorted(path.stem for path in (Path(__file__).parents[3] / "scenarios").glob("*.yaml"))
    assert {"eks-2node", "eks-current", "eks-custom-networking"} <= set(names)
    assert [line.split()[0] for line in run("scenarios").out.splitlines()] == ["NAME", *names]
    assert run("scenarios", "list", "-o", "name").out.split() == names
    assert run("-o", "name", "scenarios").out == run("scenarios", "-o", "name").out
    assert json.loads(run("scenarios", "-o", "json").out)["scenarios"][0]["name"] == "eks-2node"
    assert run("scenarios", "show", "eks-2node").out == (Path(__file__).parents[3] / "scenarios/eks-2node.yaml").read_text()
    ran = run("scenarios", "show", "eks-2nod")
    assert (ran.code, ran.err.splitlines()[1]) == (2, "hint: did you mean eks-2node?")


def test_validate(run) -> None:
    assert run("validate", "x.yaml") == (0, "", "x.yaml is valid: 1 node, 1 pod, 0 checks\n")
    assert run("validate", "bad.yaml") == (2, "", "error: bad.yaml:3: nods: unknown key 'nods'\nhint: did you mean nodes?\n")
    ran = run("validate", "bad.yaml", "-o", "json")
    document = json.loads(ran.out)
    assert (ran.code, document["kind"], document["valid"]) == (2, "Validation", False)
    problem = {"file": "bad.yaml", "line": 3, "field": "nods", "message": "unknown key 'nods'", "hint": "did you mean nodes?"}
    assert document["problems"] == [problem]
    assert json.loads(run("validate", "x.yaml", "-o", "json").out)["valid"] is True


def test_validate_warns_and_is_content(run) -> None:
    said = "warning: odd.yaml:7: vpc.subnets: all subnets are in us-west-2a, and EKS wants two (add one)\n"
    assert run("validate", "odd.yaml") == (0, "", f"odd.yaml is valid: 1 node, 1 pod, 0 checks\n{said}")
    ran = run("validate", "odd.yaml", "-o", "json")
    document = json.loads(ran.out)
    assert (ran.code, document["valid"], ran.err) == (0, True, said)
    assert document["warnings"] == [{
        "file": "odd.yaml", "line": 7, "field": "vpc.subnets", "message": "all subnets are in us-west-2a, and EKS wants two", "hint": "add one",
    }]
    assert json.loads(run("validate", "x.yaml", "-o", "json").out)["warnings"] == []


def test_up_tells_of_warnings_in_one_line(run) -> None:
    ran = run("up", "odd.yaml")
    assert ran.code == 0
    assert ran.err.splitlines()[0] == "1 warning; 'labnet validate odd.yaml' says which: vpc.subnets: all subnets are in us-west-2a"
    assert "warning" not in run("up", "x.yaml").err


def test_up_on_a_running_lab_tells_of_them_each_time(run) -> None:
    """As `kubectl apply` and `terraform apply` do."""
    said = "1 warning; 'labnet validate running-odd.yaml' says which: vpc.subnets: all subnets are in us-west-2a"
    assert run("up", "running-odd.yaml").err.splitlines()[0] == said
    assert "warning" not in run("up", "running.yaml").err


def test_schema_is_json(run) -> None:
    assert json.loads(run("schema").out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("words", [("validate", "x.yaml"), ("schema",), ("scenarios",), ("version",), ("plan", "x")])
def test_what_needs_no_root_asks_for_no_lab(run, backend, words: tuple[str, ...]) -> None:
    backend.raises["resolve"] = LabnetError("asked for a lab")
    assert run(*words).code == 0


def test_version(run) -> None:
    document = json.loads(run("version", "-o", "json").out)
    assert document["kind"] == "Version"
    assert set(document) == {"apiVersion", "kind", "version", "python", "kernel"}


def test_what_the_machine_lacks_is_said_before_the_scenario_is_read(run, backend) -> None:
    backend.raises["check_machine"] = PrerequisiteError("programs are missing: nft", "apt-get install nftables", missing=["nft"])
    ran = run("up", "bad.yaml")
    assert ran.code == 4 and "nft" in ran.err
    assert not [asked for asked in backend.asked if asked[0] == "load"]
    assert run("up", "eks-2node", "--dry-run").code == 0, "what makes nothing needs nothing"
