from __future__ import annotations

import pytest

from labnet.errors import ScenarioError, UsageError
from labnet.lab import scenario_file
from labnet.lab.scenario_problems import MAX_SHOWN


@pytest.mark.parametrize(
    ("text", "line", "field", "message", "hint"),
    [
        ("nods: []", 5, "nods", "unknown key 'nods'", "nodes"),
        ("nodes: [{name: n, instanceTyp: t3.nano, subnet: a}]", 5, "nodes[0].instanceTyp", "unknown key", "instanceType"),
        ("vpc: {cidr: 10.10.0.0/16, internetgateway: true}", 4, "vpc.internetgateway", "unknown key", "internetGateway"),
        ("nodes: [{name: n, subnet: a}]", 5, "nodes[0]", "instanceType is missing", "instanceType: t3.nano"),
        ("nodes: {name: n}", 5, "nodes", "wants a list of mappings, not a mapping", ""),
        ("nodes: [n]", 5, "nodes[0]", "wants a mapping, not 'n'", "name, instanceType"),
        ("pods:\n  - {name: 7}", 6, "pods[0].name", "wants text, not 7", 'put it in quotes: "7"'),
        ("pods: [{name: p, labels: {v: 1.0}}]", 5, "pods[0].labels.v", "wants text, not 1.0", '"1.0"'),
        ("pods: [{name: p, hostNetwork: sure}]", 5, "pods[0].hostNetwork", "wants true or false, not 'sure'", ""),
        ("seed: many", 5, "seed", "wants a whole number, not 'many'", ""),
        ("seed: 1.5", 5, "seed", "wants a whole number, not 1.5", ""),
        ("pending: maybe", 5, "pending", "'maybe' is not taken", "allowed"),
        ("cni: {dialect: 1.7}", 5, "cni.dialect", "'1.7' is not taken", "1.6 or 1.23"),
        ("cni: {kind: vcp}", 5, "cni.kind", "'vcp' is not taken", "vpc or none"),
        ("cni: {env: {A: }}", 5, "cni.env.A", "wants text, not nothing", "give it a value"),
        ("cni: {env: {A: [1]}}", 5, "cni.env.A", "wants text, not a list", ""),
        ("pods: [{name: p, containers: [{name: c, serve: {http: 80}}]}]", 5, "pods[0].containers[0].serve.http", "is none of tcp, udp", ""),
        ("kubelet: {exec: never}", 5, "kubelet.exec", "'never' is not taken", "auto or always"),
    ],
)
def test_structure(problems, text: str, line: int, field: str, message: str, hint: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert (found[0].place.line, found[0].field) == (line, field)
    assert message in found[0].message
    assert hint in found[0].hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n", "a scenario is a mapping of keys, not a list"),
        ("kind: Lab\n", "apiVersion is missing"),
        ("apiVersion: labnet/v2\nkind: Lab\n", "'labnet/v2' is not known here"),
        ("apiVersion: labnet/v1\nkind: Pod\n", "'Pod' is not known here"),
    ],
)
def test_what_is_no_scenario(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario_file.parse(text, "x.yaml", types={})
    assert message in caught.value.message
    assert caught.value.hint
    assert caught.value.file == "x.yaml"


def test_all_problems_are_told_in_the_order_of_the_file(problems) -> None:
    found = problems("nods: 1\nseed: x\npods: [{name: 1}]\n")
    assert [problem.field for problem in found] == ["nods", "seed", "pods[0].name"]


def test_one_problem_has_its_hint_apart(read) -> None:
    with pytest.raises(ScenarioError) as caught:
        read("nods: 1")
    assert caught.value.message == "lab.yaml:5: nods: unknown key 'nods'"
    assert caught.value.hint == "did you mean nodes or pods?"
    assert (caught.value.file, caught.value.line, caught.value.field) == ("lab.yaml", 5, "nods")


def test_several_problems_are_a_line_each(read) -> None:
    with pytest.raises(ScenarioError) as caught:
        read("nods: 1\nseed: x")
    first, second = caught.value.message.splitlines()
    assert first == "lab.yaml:5: nods: unknown key 'nods' (did you mean nodes or pods?)"
    assert second.startswith("lab.yaml:6: seed: wants a whole number, not 'x'")
    assert caught.value.hint.startswith("2 problems")


def test_very_many_problems_are_counted(read) -> None:
    with pytest.raises(ScenarioError) as caught:
        read("\n".join(f"key{n}: 1" for n in range(MAX_SHOWN + 5)))
    lines = caught.value.message.splitlines()
    assert len(lines) == MAX_SHOWN + 1
    assert lines[-1] == "and 5 more"


def test_a_section_with_nothing_in_it_is_as_if_it_were_not_there(read) -> None:
    assert read("pods:\nkubelet:\n").pods == ()


def test_values_that_are_text_are_taken_as_they_were_written(read) -> None:
    scenario = read(
        "cni: {dialect: 1.6, env: {MAX_ENI: 1, AWS_VPC_K8S_CNI_EXTERNALSNAT: true, CLUSTER_NAME: 1.10, AWS_VPC_ENI_MTU: '', "
        "AWS_VPC_K8S_CNI_CONNMARK: 0x10}}"
    )
    assert scenario.cni.dialect == "1.6"
    assert scenario.cni.env == {
        "MAX_ENI": "1", "AWS_VPC_K8S_CNI_EXTERNALSNAT": "true", "CLUSTER_NAME": "1.10", "AWS_VPC_ENI_MTU": "",
        "AWS_VPC_K8S_CNI_CONNMARK": "0x10",
    }


@pytest.mark.parametrize(
    ("word", "get", "value"),
    [
        ("cni.env.WARM_ENI_TARGET=2", lambda s: s.cni.env, {"WARM_ENI_TARGET": "2"}),
        ("nodes[0].instanceType=m5.large", lambda s: s.nodes[0].instance_type, "m5.large"),
        ("nodes.n1.instanceType=m5.large", lambda s: s.nodes[0].instance_type, "m5.large"),
        ("metadata.name=other", lambda s: s.name, "other"),
        ("pods=[{name: p}]", lambda s: s.pods[0].name, "p"),
        ("cni.env.POD_MTU=", lambda s: s.cni.env, {"POD_MTU": ""}),
        ("cni.env.CLUSTER_NAME=b=c", lambda s: s.cni.env, {"CLUSTER_NAME": "b=c"}),
        ("seed=7", lambda s: s.seed, 7),
    ],
)
def test_set(read, word: str, get, value) -> None:
    assert get(read("nodes: [{name: n1, instanceType: t3.nano, subnet: a}]", word)) == value


def test_a_later_set_wins(read) -> None:
    assert read("", "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("word", "part"),
    [
        (
            "seed", "wants path=value"), ("=1", "wants path=value"), ("nodes[3].name=x", "[3] is not there"), ("nodes.zz.name=x",
            "no entry is named 'zz'",
        ),
        ("metadata.name.x=1", "nothing below"), ("a..b=1", "no step"),
    ],
)
def test_set_that_leads_nowhere(read, word: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        read("nodes: [{name: n1, instanceType: t3.nano, subnet: a}]", word)
    assert part in caught.value.message
    assert caught.value.hint


def test_a_wrong_value_of_set_is_blamed_on_it(problems) -> None:
    found = problems("nodes: [{name: n1, instanceType: t3.nano, subnet: a}]", "nodes.n1.instanceType=t3.nan")
    assert found[0].place.text == "--set nodes.n1.instanceType=t3.nan"
    assert "t3.nano" in found[0].hint
    assert problems("", "sead=1")[0].message == "unknown key 'sead'"
    assert "not YAML" in problems("", "seed=[")[0].message
