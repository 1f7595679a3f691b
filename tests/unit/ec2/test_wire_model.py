"""Both directions against botocore's own code, for every action of labnet and many more of EC2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from botocore.parsers import EC2QueryParser
from botocore.serialize import EC2Serializer
from builders_ec2 import ec2_model

from labnet.ec2 import wire
from labnet.ec2.cloud import ACTIONS
from labnet.errors import Ec2Error

MOMENT = datetime(2024, 2, 29, 23, 59, 58, 123_000, tzinfo=UTC)
TEXTS = ("plain", "a&b <c> \"d\" 'e'", "ä€𝄞", " blanks kept ", "line\nfeed\ttab", "a.b=c&d+e%41", "\r\n")
EVERY = sorted({*ACTIONS, *list(ec2_model().operation_names)[::5]})


def sample(shape: Any, number: int = 0) -> Any:
    """A value of a shape that uses all of it."""
    kind = shape.type_name
    if kind == "structure":
        return {member: sample(sub, number + place) for place, (member, sub) in enumerate(shape.members.items())}
    if kind == "list":
        return [sample(shape.member, number + place) for place in range(1 + number % 12)]
    values: Mapping[str, Any] = {
        "string": TEXTS[number % len(TEXTS)], "integer": number - 3, "long": (1 << 40) + number, "boolean": number % 2 == 0,
        "float": number / 8, "double": number / 16 - 1, "timestamp": MOMENT, "blob": bytes((number % 256, 0, 255)),
    }
    return values[kind]


@pytest.fixture(scope="module")
def translator() -> wire.Wire:
    return wire.Wire()


@pytest.mark.parametrize("action", EVERY)
def test_what_botocore_writes_is_read(translator: wire.Wire, action: str) -> None:
    operation = ec2_model().operation_model(action)
    params = sample(operation.input_shape) if operation.input_shape is not None else {}
    request = EC2Serializer().serialize_to_request(params, operation)
    assert translator.parse(urlencode(request["body"]).encode()) == (action, params)


@pytest.mark.parametrize("action", EVERY)
def test_what_is_written_botocore_reads(translator: wire.Wire, action: str) -> None:
    operation = ec2_model().operation_model(action)
    result = sample(operation.output_shape) if operation.output_shape is not None else {}
    body = translator.answer(action, result, "id-1")
    read = EC2QueryParser().parse({"status_code": 200, "headers": {}, "body": body}, operation.output_shape)
    assert read.pop("ResponseMetadata")["RequestId"] == "id-1"
    assert read == result


def test_nothing_and_empty_lists(translator: wire.Wire) -> None:
    operation = ec2_model().operation_model("DescribeNetworkInterfaces")
    for result in ({"NetworkInterfaces": []}, {"NetworkInterfaces": [{"TagSet": [], "Groups": [{}], "Description": "", "Attachment": {}}]}):
        body = translator.answer("DescribeNetworkInterfaces", result, "id")
        read = EC2QueryParser().parse({"status_code": 200, "headers": {}, "body": body}, operation.output_shape)
        assert {key: value for key, value in read.items() if key != "ResponseMetadata"} == result
    body = translator.answer("DescribeNetworkInterfaces", {"NetworkInterfaces": [], "NextToken": None}, "id")
    assert b"nextToken" not in body, "a member without a value is left out"


def test_an_answer_that_the_model_has_not_is_a_fault_of_ours(translator: wire.Wire) -> None:
    with pytest.raises(KeyError):
        translator.answer("DescribeVpcs", {"Vpcs": [{"Colour": "red"}]}, "id")


def test_actions_that_return_nothing_return_true(translator: wire.Wire) -> None:
    root = ElementTree.fromstring(translator.answer("DeleteNetworkInterface", {}, "id"))
    assert [(one.tag.partition("}")[2], one.text) for one in root] == [("requestId", "id"), ("return", "true")]


@pytest.mark.parametrize("text", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800", "]]>", "<!--", "&#0;", "\x7f", "\u2028"])
def test_every_answer_is_well_formed(translator: wire.Wire, text: str) -> None:
    body = translator.answer("DescribeVpcs", {"Vpcs": [{"VpcId": f"a{text}b"}]}, "id")
    assert len(ElementTree.fromstring(body).findtext("*/*/*") or "") == len(text) + 2
    ElementTree.fromstring(wire.refusal(Ec2Error("X", f"a{text}b"), "id"))


def test_botocore_reads_an_error(translator: wire.Wire) -> None:
    body = wire.refusal(Ec2Error("InvalidVpcID.NotFound", "The vpc ID '<&>' does not exist"), "id-7")
    read = EC2QueryParser().parse({"status_code": 400, "headers": {}, "body": body}, None)
    assert read["Error"] == {"Code": "InvalidVpcID.NotFound", "Message": "The vpc ID '<&>' does not exist"}
    assert read["ResponseMetadata"]["RequestId"] == "id-7"


def refused(translator: wire.Wire, form: str) -> tuple[str, str]:
    with pytest.raises(Ec2Error) as caught:
        translator.parse(form.encode())
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("form, code, words", [
    ("Action=DescribeVpcs&Version=2012-12-01", "NoSuchVersion", "The requested version (2012-12-01) of service AmazonEC2 does not exist"),
    ("Action=Fly", "InvalidAction", "The action Fly is not valid for this web service."),
    ("Version=2016-11-15", "MissingAction", "The request is missing an action or a required parameter."),
    ("Action=DeleteVpc", "MissingParameter", "The request must contain the parameter VpcId"),
    ("Action=DescribeVpcs&Filter.1.Colour=red", "UnknownParameter", "The parameter Filter.1.Colour is not recognized"),
    ("Action=DescribeVpcs&Action=DescribeVpcs", "InvalidParameterValue", "The parameter Action is given twice"),
    ("Action=CreateVpc&CidrBlock.b=c&CidrBlock=a", "InvalidParameterCombination", "CidrBlock conflicts"),
    ("Action=DescribeVpcs&VpcId.1=a&VpcId.1=b", "InvalidParameterValue", "VpcId.1 is given twice"),
    ("Action=DescribeVpcs&VpcId.01=a", "InvalidParameterValue", "numbered from 1"),
    ("Action=DescribeVpcs&Filter.99999999.Name=a", "InvalidParameterValue", "numbered from 1"),
    ("Action=DescribeVpcs&VpcId.%D9%A1=a", "InvalidParameterValue", "numbered from 1"),
    ("Action=DescribeVpcs&MaxResults=1_000", "InvalidParameterValue", "Value (1_000) for parameter MaxResults is invalid"),
    ("Action=DescribeVpcs&MaxResults=%2B5", "InvalidParameterValue", "Not a valid integer"),
    ("Action=DescribeVpcs&MaxResults=99999999999", "InvalidParameterValue", "Not a valid integer"),
    ("Action=DescribeVpcs&MaxResults=" + "9" * 5000, "InvalidParameterValue", "..."),
    ("Action=DescribeVpcs&DryRun=1", "InvalidParameterValue", "Not a valid boolean"),
    ("Action=DescribeVpcs&VpcId.1=%00", "InvalidParameterValue", "VpcId.1 has characters that are not valid in XML"),
    ("Action=DescribeVpcs&VpcId%0B=x", "InvalidParameterValue", "VpcId? has characters"),
    ("Action=DescribeVpcs&VpcId.1=%EF%BF%BF", "InvalidParameterValue", "not valid in XML"),
    ("Action=DescribeVpcs&VpcId.1=%zz", "MalformedQueryString", "percent"),
    ("Action=DescribeVpcs&VpcId.1=%", "MalformedQueryString", "percent"),
    ("Action=DescribeVpcs&VpcId.1=%ff%fe", "MalformedQueryString", "utf-8"),
    ("Action=DescribeVpcs&VpcId.1", "MalformedQueryString", "without a value"),
    ("Action=DescribeVpcs&VpcId.1=%ED%A0%80", "MalformedQueryString", "utf-8"),
    ("&".join(["Action=DescribeVpcs", *(f"VpcId.{n}=a" for n in range(1, 20_002))]), "MalformedQueryString", "more than 20000"),
    ("Action=DescribeVpcs&" + "a." * 10_000 + "b=c", "UnknownParameter", "The parameter a is not recognized"),
    ("Action=DescribeVpcs&Filter.1.Name" + ".x" * 10_000 + "=c", "InvalidParameterValue", "Filter.1.Name has no members"),
    ("Action=DescribeVpcs&" + "k" * 100_000 + "=c", "UnknownParameter", "..."),
    ("Action=DescribeVpcs&.=c", "UnknownParameter", "not recognized"),
    ("Action=DescribeVpcs&Filter..Name=c", "InvalidParameterValue", "numbered from 1"),
    ("Action=DescribeVpcs&Filter.1=c", "InvalidParameterValue", "Filter.1 must have members"),
])
def test_hostile_forms_are_refused_by_name_and_briefly(translator: wire.Wire, form: str, code: str, words: str) -> None:
    said = refused(translator, form)
    assert said[0] == code
    assert words in said[1]
    assert len(said[1]) < 400
    ElementTree.fromstring(wire.refusal(Ec2Error(*said), "id"))


def test_what_labnet_has_not_is_told_from_what_nobody_has() -> None:
    translator = wire.Wire(ACTIONS)
    with pytest.raises(Ec2Error) as caught:
        translator.parse(b"Action=DescribeVolumes&Nonsense=1")
    assert (caught.value.code, caught.value.status) == ("InvalidAction", 501)
    assert "DescribeVolumes" in caught.value.message and "labnet has not" in caught.value.message
    with pytest.raises(Ec2Error) as caught:
        translator.parse(b"Action=Fly")
    assert (caught.value.code, caught.value.status) == ("InvalidAction", 400)


def test_a_presigned_query_brings_its_signature_beside_the_parameters(translator: wire.Wire) -> None:
    form = b"Action=DescribeVpcs&X-Amz-Signature=1&X-Amz-Date=2&VpcId.1=a"
    assert translator.parse(form, presigned=True) == ("DescribeVpcs", {"VpcIds": ["a"]})
    assert refused(translator, form.decode())[0] == "UnknownParameter"


def test_a_moment_without_a_zone_is_utc(translator: wire.Wire) -> None:
    for text in ("2024-02-29T23:59:58.123Z", "2024-02-29T23:59:58.123000", "2024-03-01T01:59:58.123%2B02:00"):
        _action, params = translator.parse(f"Action=DescribeSpotPriceHistory&StartTime={text}".encode())
        assert params["StartTime"] == MOMENT
