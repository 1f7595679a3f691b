"""The EC2 probe itself, at endpoints that answer whatever a test wants: what is judged, what is cleaned up, what is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.loaders import Loader
from botocore.model import ServiceModel

from labnet.ec2.probe import __main__ as command
from labnet.ec2.probe import report
from labnet.ec2.probe.check import Check, Refusal, Result, Wrong, of_group
from labnet.ec2.probe.checks import all_checks
from labnet.ec2.probe.run import chosen, one
from labnet.ec2.probe.site import Endpoint, Site
from labnet.ec2.probe.undo import in_order, undo_of
from tools.ec2_servers import client_environment

HERE = Endpoint("http://127.0.0.1:9", "us-west-2", limit_s=5, patience_s=0.2)
OPERATIONS = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2").operation_names
PYTHON_NAMES = {xform_name(name): name for name in OPERATIONS}


def refusal(code: str, text: str = "", status: int = 400) -> ClientError:
    answered = {"HTTPStatusCode": status, "RequestId": "r-1", "HTTPHeaders": {"content-type": "text/xml"}}
    return ClientError({"Error": {"Code": code, "Message": text}, "ResponseMetadata": answered}, "Any")  # type: ignore[arg-type]


class Answers:
    """A boto3 client that answers from a table of operations: a value, an error, or what a function makes of the parameters."""

    def __init__(self, **table: Any) -> None:
        self.table = table
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = PYTHON_NAMES[name]

        def call(**params: Any) -> Any:
            self.asked.append((operation, params))
            answer = self.table.get(operation, {})
            answer = answer(**params) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def site(**table: Any) -> tuple[Site, Answers]:
    client = Answers(**table)
    return Site(HERE, client), client


def check_of(body: Callable[[Site], None]) -> Check:
    return of_group("a group")("a row")(body)


# ---- judgement ------------------------------------------------------------------------------------------------------------


def test_the_refusal_of_aws_passes_and_is_handed_back() -> None:
    at, _ = site(DeleteVpc=refusal("DependencyViolation", "in use"))
    assert at.refused("DeleteVpc", "DependencyViolation", "in use", VpcId="vpc-1").text == "in use"
    at.refused("DeleteVpc", "CannotDelete DependencyViolation", ("in use", "used"), VpcId="vpc-1")
    at.refused("DeleteVpc", "DependencyViolation", re.compile(r"in \w+"), VpcId="vpc-1")


@pytest.mark.parametrize(("answer", "text", "said"), [
    ({}, None, "expected DependencyViolation, and the call was carried out"),
    (refusal("InvalidParameterValue", "no"), None, "expected DependencyViolation, got InvalidParameterValue: no"),
    (refusal("DependencyViolation", "busy"), "in use", "should read 'in use', not 'busy'"),
    (refusal("DependencyViolation", "busy"), ("in use", "used"), "not 'busy'"),
    (refusal("DependencyViolation", "busy now"), re.compile("busy"), "should read 'busy', not 'busy now'"),
    (refusal("DependencyViolation", "in use", 500), "in use", "comes with HTTP status 400 from AWS, not 500"),
    (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), None, "no usable answer"),
])
def test_everything_else_is_wrong(answer: Any, text: Any, said: str) -> None:
    at, _ = site(DeleteVpc=answer)
    with pytest.raises(Wrong, match=re.escape(said)):
        at.refused("DeleteVpc", "DependencyViolation", text, VpcId="vpc-1")


@pytest.mark.parametrize(("code", "status"), [
    ("AuthFailure", 401), ("UnauthorizedOperation", 403), ("DryRunOperation", 412), ("RequestLimitExceeded", 503),
])
def test_some_codes_have_a_status_of_their_own(code: str, status: int) -> None:
    site(DescribeVpcs=refusal(code, status=status))[0].refused("DescribeVpcs", code)
    with pytest.raises(Wrong, match="HTTP status"):
        site(DescribeVpcs=refusal(code))[0].refused("DescribeVpcs", code)


def test_a_state_that_does_not_come_is_wrong() -> None:
    at, _ = site()
    with pytest.raises(Wrong, match=r"not there after 0\.2 s"):
        at.until(lambda: False, "there")


def test_a_check_has_an_end() -> None:
    at = Site(Endpoint("http://127.0.0.1:9", "us-west-2", limit_s=0.0), Answers())
    with pytest.raises(Wrong, match="not done after 0 s"):
        at.call("DescribeVpcs")


def test_a_set_up_that_is_refused_fails_the_check_with_its_reason() -> None:
    result = one(HERE, Answers(CreateVpc=refusal("VpcLimitExceeded", "The maximum")), check_of(lambda at: at.vpc() and None))
    assert not result.passed
    assert result.reason == "CreateVpc was refused: VpcLimitExceeded: The maximum"


def test_an_answer_without_what_it_must_have_fails_the_check() -> None:
    result = one(HERE, Answers(), check_of(lambda at: at.vpc() and None))
    assert result.reason == "the answer is not AWS's: KeyError: 'Vpc'"


# ---- afterwards -----------------------------------------------------------------------------------------------------------


def made_everything(at: Site) -> None:
    subnet = at.subnet()
    at.call("CreateNetworkInterface", SubnetId=subnet)
    at.call("RunInstances", ImageId="ami-1", MinCount=1, MaxCount=1)
    raise Wrong("and then it went wrong")


MADE: dict[str, Any] = {
    "CreateVpc": {"Vpc": {"VpcId": "vpc-1"}}, "CreateSubnet": {"Subnet": {"SubnetId": "subnet-1"}},
    "CreateNetworkInterface": {"NetworkInterface": {"NetworkInterfaceId": "eni-1"}},
    "RunInstances": {"Instances": [{"InstanceId": "i-1", "NetworkInterfaces": [{"NetworkInterfaceId": "eni-2"}]}]},
    "DescribeInstances": {"Reservations": [{"Instances": [{"State": {"Name": "terminated"}}]}]},
}


def test_what_a_failing_check_made_goes_inside_first() -> None:
    client = Answers(**MADE)
    result = one(HERE, client, check_of(made_everything))
    assert (result.reason, result.left) == ("and then it went wrong", ())
    gone = [(name, *params.values()) for name, params in client.asked if name.startswith(("Delete", "Terminate"))]
    assert gone == [
        ("TerminateInstances", ["i-1"]), ("DeleteNetworkInterface", "eni-2"), ("DeleteNetworkInterface", "eni-1"),
        ("DeleteSubnet", "subnet-1"), ("DeleteVpc", "vpc-1"),
    ]


def test_what_ought_to_have_been_refused_goes_too() -> None:
    client = Answers(**MADE)
    result = one(HERE, client, check_of(lambda at: at.refused("CreateVpc", "InvalidVpc.Range", CidrBlock="10.0.0.0/8") and None))
    assert not result.passed
    assert client.asked[-1] == ("DeleteVpc", {"VpcId": "vpc-1"})


def test_what_is_gone_already_is_no_matter_and_what_stays_is_told() -> None:
    table = {**MADE, "DeleteNetworkInterface": refusal("InvalidNetworkInterfaceID.NotFound"), "DeleteVpc": refusal("DependencyViolation", "x")}
    result = one(HERE, Answers(**table), check_of(made_everything))
    assert result.left == ("vpc-1: DeleteVpc was refused: DependencyViolation: x",)


def test_a_group_that_another_one_names_goes_in_the_second_round() -> None:
    present = {"sg-1", "sg-2"}

    def delete(GroupId: str) -> Any:  # noqa: N803 - as boto3 calls it
        if GroupId == "sg-2" and "sg-1" in present:
            return refusal("DependencyViolation")
        present.discard(GroupId)
        return {}

    names = iter(("sg-1", "sg-2"))
    client = Answers(CreateSecurityGroup=lambda **_params: {"GroupId": next(names)}, DeleteSecurityGroup=delete)
    result = one(HERE, client, check_of(lambda at: (at.group("vpc-1"), at.group("vpc-1"), None)[-1]))
    assert (result.passed, result.left, present) == (True, (), set())


def test_an_instance_is_waited_for() -> None:
    states = iter(("running", "shutting-down", "terminated"))
    described = {"DescribeInstances": lambda **_params: {"Reservations": [{"Instances": [{"State": {"Name": next(states)}}]}]}}
    client = Answers(**{**MADE, **described})
    assert one(HERE, client, check_of(made_everything)).left == ()
    assert list(states) == [], "asked until it was terminated"


@pytest.mark.parametrize("operation", [
    "AllocateAddress", "AssociateAddress", "AssociateRouteTable", "AttachInternetGateway", "CreateInternetGateway", "CreateNatGateway",
    "CreateNetworkAcl", "CreateNetworkInterface", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateSubnetCidrReservation",
    "CreateVpc", "CreateVpcPeeringConnection", "RunInstances",
])
def test_each_call_that_makes_something_can_be_undone(operation: str) -> None:
    """The path into the answer and the parameter of the undoing call are those of the API's model."""
    model = ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")
    params = {"InternetGatewayId": "igw-1", "VpcId": "vpc-1"} if operation == "AttachInternetGateway" else {}
    output = model.operation_model(operation).output_shape
    undos = undo_of(operation, params, example(output) if output else {})
    assert undos
    for undo in undos:
        known = set(model.operation_model(undo.operation).input_shape.members)
        assert set(undo.params) <= known
        if undo.wait:
            assert undo.wait[1] in model.operation_model(undo.wait[0]).input_shape.members


def example(shape: Any, depth: int = 5) -> Any:
    if shape.type_name == "structure":
        return {name: example(sub, depth - 1) for name, sub in shape.members.items()} if depth else {}
    if shape.type_name == "list":
        return [example(shape.member, depth - 1)] if depth else []
    return "x"


def test_order_is_by_rank_and_the_latest_first() -> None:
    made = [*undo_of("CreateVpc", {}, {"Vpc": {"VpcId": "a"}}), *undo_of("CreateVpc", {}, {"Vpc": {"VpcId": "b"}})]
    made += undo_of("CreateSubnet", {}, {"Subnet": {"SubnetId": "c"}})
    assert [undo.what for undo in in_order(made)] == ["c", "b", "a"]


# ---- the list of checks ---------------------------------------------------------------------------------------------------


def test_there_are_many_checks_each_with_a_name_of_its_own() -> None:
    names = [check.name for check in all_checks()]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
    for check in all_checks():
        assert check.says.endswith(".") and check.row and check.group, check.name


def test_what_cannot_be_seen_from_outside_is_only_checked_when_told() -> None:
    plain = {check.name for check in chosen(HERE)}
    told = {check.name for check in chosen(Endpoint("u", "r", denied="DescribeVpcs", throttled=True))}
    assert told - plain == {"throttled", "denied"}
    assert [check.name for check in chosen(HERE, ["vpc-r*"])] == ["vpc-range"]


def test_throttling_is_looked_for() -> None:
    check = next(one for one in all_checks() if one.name == "throttled")
    calls = iter(range(1000))
    busy = Answers(DescribeVpcs=lambda: refusal("RequestLimitExceeded", "Request limit exceeded.", 503) if next(calls) >= 100 else {})
    assert one(HERE, busy, check).passed
    assert one(HERE, Answers(), check).reason == "400 calls in a row were all answered"
    assert "expected" in one(HERE, Answers(DescribeVpcs=refusal("Throttling", "slow", 400)), check).reason


# ---- reports --------------------------------------------------------------------------------------------------------------

GOOD = Result(Check("good-one", "First group", "a rule", "It is so.", lambda _at: None), "", 0.25)
SAID = "expected <a> & \x1b[31m\x00, got it"
BAD = Result(Check("bad-one", "First group", "a rule", "It is otherwise.", lambda _at: None), SAID, 1.0, ("vpc-1: x",))
OTHER = Result(Check("other", "Second group", "b rule", "Well.", lambda _at: None), "", 0.5)


def test_the_table_is_by_group_and_row() -> None:
    text = report.table((GOOD, BAD, OTHER), width=60)
    assert [line.split(" ..")[0] for line in text.splitlines() if not line.startswith(" ")] == [
        "First group", "", "Second group", "", "left behind by bad-one: vpc-1: x", "2 of 3 checks pass",
    ]
    assert text.count("  a rule\n") == 1
    assert "    pass    good-one: It is so.\n    FAIL    bad-one: It is otherwise.\n            > expected <a>" in text
    assert re.search(r"^First group \.+ 1 of 2$", text, re.MULTILINE)


def test_nothing_an_endpoint_says_steers_the_terminal() -> None:
    assert "\x1b" not in report.table((BAD,)) and "\x00" not in report.table((BAD,))


def test_json_holds_all_of_it() -> None:
    document = json.loads(report.as_json((GOOD, BAD, OTHER), "http://x", "us-west-2"))
    assert (document["passed"], document["total"], document["endpoint"]) == (2, 3, "http://x")
    assert document["groups"] == [
        {"group": "First group", "passed": 1, "total": 2}, {"group": "Second group", "passed": 1, "total": 1},
    ]
    assert document["checks"][1]["left"] == ["vpc-1: x"]


def test_junit_is_well_formed_whatever_an_endpoint_said() -> None:
    root = ElementTree.fromstring(report.junit((GOOD, BAD, OTHER)))
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    assert [(suite.get("name"), suite.get("failures")) for suite in root] == [("First group", "1"), ("Second group", "0")]
    failure = root.find(".//testcase[@classname='bad-one']/failure")
    assert failure is not None and failure.text == "expected <a> & ?[31m?, got it"


# ---- the command ----------------------------------------------------------------------------------------------------------


def test_without_boto3_one_line_and_exit_4(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert command.main(["--endpoint-url", "http://127.0.0.1:9"]) == 4
    assert capsys.readouterr().err == "labnet.ec2.probe needs boto3: pip install boto3\n"


@pytest.mark.parametrize("words", [["--timeout", "soon"], ["--timeout", "0"], ["--patience", "inf"], ["-o", "yaml"], ["--what"]])
def test_words_that_make_no_sense_are_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["--endpoint-url", "http://127.0.0.1:9", *words])
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def probe(home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "labnet.ec2.probe", *words], env=client_environment(variables, home), capture_output=True, text=True, timeout=60,
        check=False,
    )


def test_no_endpoint_no_credentials_no_such_check(tmp_path: Path) -> None:
    assert probe(tmp_path).returncode == 2
    done = probe(tmp_path, "--endpoint-url", "http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (4, "") and "no credentials" in done.stderr
    done = probe(tmp_path, "--endpoint-url", "http://127.0.0.1:9", "--only", "vcp*")
    assert (done.returncode, done.stderr) == (2, "no check is called vcp*; --list shows them\n")


def test_an_endpoint_that_is_not_there_fails_every_check(tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL_EC2": "http://127.0.0.1:9"}
    done = probe(tmp_path, "--only", "vpc-*", "--junit", str(tmp_path / "junit.xml"), **keys)
    assert done.returncode == 3
    assert re.search(r"^0 of \d+ checks pass$", done.stdout, re.MULTILINE)
    assert "Could not connect to the endpoint URL" in done.stdout
    assert "Traceback" not in done.stderr
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") != "0"


def test_the_probe_loads_nothing_of_labnet() -> None:
    program = "import sys, labnet.ec2.probe.run, labnet.ec2.probe.report\nprint(*(one for one in sys.modules if one.startswith('labnet')))"
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, timeout=60, check=True)
    strange = [one for one in done.stdout.split() if not one.startswith("labnet.ec2.probe")]
    assert set(strange) == {"labnet", "labnet.ec2"}


def test_a_refusal_says_what_was_asked() -> None:
    assert str(Refusal("DeleteVpc", "DependencyViolation", "x", 400, "", "")) == "DeleteVpc was refused: DependencyViolation: x"
