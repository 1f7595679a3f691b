"""A scenario's `ec2:`: what it becomes, and what is refused with its line."""

from __future__ import annotations

import pytest

from labnet.ec2.latency import AWS_PRESET
from labnet.lab import scenario_schema
from labnet.model import codec
from labnet.model.behaviour import DenySpec, Ec2Spec, FaultSpec, Latency
from labnet.model.scenario import Scenario

NODE = "nodes: [{name: n1, instanceType: t3.nano, subnet: a}]\n"
WHOLE = NODE + """
ec2:
  throttling: aws
  latency:
    AttachNetworkInterface: {p50: 2.0, p95: 4}
    Describe*: 0.1
    CreateTags: {p50: 1}
  imdsDelay: 2
  faults:
    - {action: AssignPrivateIpAddresses, code: InsufficientCidrBlocks, times: 2, node: n1}
    - {action: 'Create*', code: InternalError, rate: 0.3, for: 2m, message: no, status: 502}
    - {action: CreateTags, code: Unavailable, for: 30}
  deny:
    - DeleteNetworkInterface
    - {action: CreateNetworkInterface, node: n1}
"""


def test_everything_that_can_be_said(read) -> None:
    assert read(WHOLE.replace("message: no", "message: 'no'")).ec2 == Ec2Spec(
        throttling="aws", latency={"AttachNetworkInterface": Latency(2, 4), "Describe*": Latency(0.1, 0.1), "CreateTags": Latency(1, 1)},
        imds_delay_s=2,
        faults=(
            FaultSpec("AssignPrivateIpAddresses", "InsufficientCidrBlocks", times=2, node="n1"),
            FaultSpec("Create*", "InternalError", "no", 502, rate=0.3, for_s=120), FaultSpec("CreateTags", "Unavailable", for_s=30),
        ),
        deny=(DenySpec("DeleteNetworkInterface"), DenySpec("CreateNetworkInterface", "n1")),
    )


def test_it_travels_to_a_running_lab(read) -> None:
    scenario = read(WHOLE.replace("message: no", "message: 'no'"))
    assert codec.from_document(codec.to_document(scenario), Scenario).ec2 == scenario.ec2


def test_nothing_said_is_nothing_set(read) -> None:
    assert read(NODE).ec2 == read(NODE + "ec2: {}").ec2 == Ec2Spec()


@pytest.mark.parametrize("word", ["off", "'off'"])
def test_off_is_a_word_with_and_without_quotes(read, word: str) -> None:
    assert read(f"ec2: {{throttling: {word}, latency: {word}}}").ec2 == Ec2Spec()


def test_aws_is_a_preset(read) -> None:
    assert read("ec2: {latency: aws}").ec2.latency == AWS_PRESET


def test_set_from_the_command_line(read) -> None:
    spec = read(NODE, "ec2.throttling=aws", "ec2.latency.AttachNetworkInterface.p50=3", "ec2.imdsDelay=1.5", "ec2.deny=[CreateTags]").ec2
    assert spec == Ec2Spec("aws", {"AttachNetworkInterface": Latency(3, 3)}, 1.5, (), (DenySpec("CreateTags"),))
    assert read(NODE + "ec2: {throttling: aws}", "ec2.throttling=off").ec2 == Ec2Spec()


@pytest.mark.parametrize(
    ("text", "field", "message", "hint"),
    [
        ("throttling: fast", "ec2.throttling", "'fast' is not taken", "it wants off or aws"),
        ("latency: slow", "ec2.latency", "not 'slow'", ""),
        ("latency: {AttachNetworkInterfaces: 1}", "ec2.latency.AttachNetworkInterfaces", "no action", "did you mean AttachNetworkInterface"),
        ("latency: {CreateTags: -1}", "ec2.latency.CreateTags", "cannot take -1 seconds", "0 to 600"),
        ("latency: {CreateTags: 700}", "ec2.latency.CreateTags", "cannot take 700", "0 to 600"),
        ("latency: {CreateTags: {p50: 2, p95: 1}}", "ec2.latency.CreateTags.p95", "1 is less than p50", "p50 is 2"),
        ("latency: {CreateTags: {p95: 1}}", "ec2.latency.CreateTags", "p50 is missing", "p50: 2.0"),
        ("latency: {CreateTags: {p5: 1}}", "ec2.latency.CreateTags.p5", "unknown key 'p5'", "p50"),
        ("latency: {CreateTags: quick}", "ec2.latency.CreateTags", "wants a number or a mapping, not 'quick'", ""),
        ("imdsDelay: -1", "ec2.imdsDelay", "-1 is no delay", "0 to 600"),
        ("faults: [{action: CreateTags}]", "ec2.faults[0]", "code is missing", "InsufficientFreeAddressesInSubnet"),
        ("faults: [{action: CreatTags, code: X}]", "ec2.faults[0]", "no action 'CreatTags'", "did you mean CreateTags"),
        ("faults: [{action: CreateTags, code: X, times: 0}]", "ec2.faults[0]", "0 times is never", ""),
        ("faults: [{action: CreateTags, code: X, rate: 2}]", "ec2.faults[0]", "2 is no rate", ""),
        ("faults: [{action: CreateTags, code: X, status: 200}]", "ec2.faults[0]", "200 is no HTTP status", "400 to 599"),
        ("faults: [{action: CreateTags, code: X, for: long}]", "ec2.faults[0].for", "'long' is no duration", ""),
        ("faults: [{action: CreateTags, code: X, node: n2}]", "ec2.faults[0].node", "there is no node 'n2'", "n1"),
        ("deny: [CreateTag]", "ec2.deny[0]", "no action 'CreateTag'", "CreateTags"),
        ("deny: [{action: CreateTag}]", "ec2.deny[0].action", "no action 'CreateTag'", "CreateTags"),
        ("deny: [{action: CreateTags, node: x}]", "ec2.deny[0].node", "there is no node 'x'", ""),
        ("deny: [3]", "ec2.deny[0]", "wants text or a mapping, not 3", ""),
        ("denied: []", "ec2.denied", "unknown key 'denied'", "deny"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(problems, text: str, field: str, message: str, hint: str) -> None:
    found = problems(NODE + f"ec2:\n  {text}")
    assert [problem.field for problem in found] == [field]
    assert message in found[0].message
    assert hint in found[0].hint
    assert found[0].place.line == 7


def test_the_schema_knows_off_and_both_forms_of_a_denial() -> None:
    ec2 = scenario_schema.schema()["$defs"]["Ec2"]["properties"]
    assert ec2["throttling"]["enum"] == ["aws", "off", False]
    assert "{AttachNetworkInterface" in str(ec2["latency"]["examples"])
    assert any("$ref" in str(one) for one in ec2["deny"]["items"]["anyOf"])
