"""The contract's text: configuration, CNI_ARGS, identifiers, errors."""

import json

import pytest

from labnet.cni import spec
from labnet.errors import CniError


def number_of(function, *args):
    with pytest.raises(CniError) as caught:
        function(*args)
    return caught.value.number, caught.value.message


def test_a_configuration_without_version_speaks_0_1_0():
    config = spec.parse_config(b'{"name": "aws-cni", "type": "aws-cni"}')
    assert (config.cni_version, config.name, config.type) == ("0.1.0", "aws-cni", "aws-cni")


@pytest.mark.parametrize(
    ("stdin", "number"),
    [(b"{", 6), (b"[]", 6), (b"\xff", 6), (b'{"name": 1}', 6), (b"{}", 7), (b'{"name": "a b"}', 7), (b"[" * 100_000, 6)],
)
def test_what_is_no_configuration_is_refused_with_its_number(stdin, number):
    assert number_of(spec.parse_config, stdin)[0] == number


def test_args_keep_known_keys_and_ignore_unknown_wherever_it_stands():
    text = "K8S_POD_NAME=web;FOO=1;IgnoreUnknown=1"
    assert spec.parse_args(text, ("K8S_POD_NAME",)) == {"K8S_POD_NAME": "web"}
    assert spec.parse_args("", ("K8S_POD_NAME",)) == {}


@pytest.mark.parametrize("text", ["FOO=1", "IgnoreUnknown=0;FOO=1", "IgnoreUnknown=maybe", "K8S_POD_NAME", "K8S_POD_NAME=a=b", ";"])
def test_args_refuse_what_nothing_excuses(text):
    assert number_of(spec.parse_args, text, ("K8S_POD_NAME",))[0] == 4


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a b", ".", "..", "sixteen-letters-"])
def test_names_that_no_link_can_have(name):
    if name:
        assert number_of(spec.check_ifname, name)[0] == 4
    spec.check_ifname("eth0")


def test_container_ids():
    spec.check_container_id("a" * 64)
    assert number_of(spec.check_container_id, "-a")[0] == 4


def test_an_error_prints_as_the_contract_says_and_comes_back():
    text = spec.render_error(CniError(999, "add cmd: no", "why"), "0.4.0")
    assert text == b'{\n    "cniVersion": "0.4.0",\n    "code": 999,\n    "msg": "add cmd: no",\n    "details": "why"\n}'
    back = spec.parse_error(text)
    assert (back.number, back.message, back.details) == (999, "add cmd: no", "why")
    assert list(json.loads(spec.render_error(CniError(4, "x")))) == ["code", "msg"]
    assert spec.parse_error(b"panic: oops") is None


def test_the_answer_to_version_is_one_line():
    assert spec.render_versions() == (
        b'{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}\n'
    )


def test_versions_compare_as_numbers():
    assert spec.at_least("0.10.0", "0.4.0")
    assert not spec.at_least("0.3.1", "0.4.0")
    assert number_of(spec.at_least, "new", "0.4.0")[0] == 6
