"""Results in the shape of every version."""

import json

import pytest

from labnet.cni.result import Result, ResultDns, ResultInterface, ResultIp, ResultRoute, parse_result
from labnet.errors import CniError

WHOLE = Result(
    interfaces=(ResultInterface("eni1"), ResultInterface("eth0", "02:00:00:00:00:01", "/var/run/netns/a", 9001)),
    ips=(ResultIp("10.0.0.5/32", "169.254.1.1", 1), ResultIp("fd00::5/128", interface=1)),
    routes=(ResultRoute("0.0.0.0/0", "169.254.1.1", (("mtu", 1400),)), ResultRoute("::/0")),
    dns=ResultDns(("10.0.0.2",), "cluster.local"),
)
POD_B = Result(
    (ResultInterface("eni2f5353dd8c5"), ResultInterface("eth0", "2", "/var/run/netns/cni-1234"), ResultInterface("dummy2f5353dd8c5", "0", "1")),
    (ResultIp("10.10.2.6/32", interface=1),),
)


def test_the_published_example_byte_for_byte():
    assert POD_B.render("0.4.0").decode() == """{
    "cniVersion": "0.4.0",
    "interfaces": [
        {
            "name": "eni2f5353dd8c5"
        },
        {
            "name": "eth0",
            "mac": "2",
            "sandbox": "/var/run/netns/cni-1234"
        },
        {
            "name": "dummy2f5353dd8c5",
            "mac": "0",
            "sandbox": "1"
        }
    ],
    "ips": [
        {
            "version": "4",
            "interface": 1,
            "address": "10.10.2.6/32"
        }
    ],
    "dns": {}
}"""


def test_1_0_0_has_no_ip_version_and_no_mtu_which_1_1_0_has():
    old, new = WHOLE.document("1.0.0"), WHOLE.document("1.1.0")
    assert "version" not in old["ips"][0]
    assert "mtu" not in old["interfaces"][1]
    assert "mtu" not in old["routes"][0]
    assert new["interfaces"][1]["mtu"] == 9001
    assert new["routes"][0]["mtu"] == 1400


def test_from_1_0_0_on_an_empty_dns_is_left_out_and_keys_are_sorted():
    assert "dns" not in POD_B.document("1.0.0")
    new = json.loads(WHOLE.render("1.1.0"))
    assert list(new) == ["cniVersion", "dns", "interfaces", "ips", "routes"]
    assert list(new["interfaces"][1]) == ["mac", "mtu", "name", "sandbox"]
    assert list(new["ips"][0]) == ["address", "gateway", "interface"]
    assert list(new["routes"][0]) == ["dst", "gw", "mtu"]
    assert new["dns"] == {"domain": "cluster.local", "nameservers": ["10.0.0.2"]}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_the_flat_shape_has_one_address_of_each_family(version):
    assert WHOLE.document(version) == {
        "cniVersion": version,
        "ip4": {"ip": "10.0.0.5/32", "gateway": "169.254.1.1", "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]},
        "ip6": {"ip": "fd00::5/128", "routes": [{"dst": "::/0"}]},
        "dns": {"nameservers": ["10.0.0.2"], "domain": "cluster.local"},
    }


def test_the_flat_shape_needs_an_address():
    with pytest.raises(CniError):
        Result().document("0.2.0")


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_what_was_written_reads_back_as_far_as_the_version_can_say_it(version):
    back = parse_result(json.loads(WHOLE.render(version)))
    assert back.document(version) == WHOLE.document(version)
    assert parse_result(json.loads(back.render("1.1.0"))).ips == WHOLE.ips


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_a_flat_result_becomes_a_listed_one(version):
    assert parse_result(WHOLE.document(version)).document("0.4.0")["ips"] == [
        {"version": "4", "address": "10.0.0.5/32", "gateway": "169.254.1.1"},
        {"version": "6", "address": "fd00::5/128"},
    ]


@pytest.mark.parametrize(
    ("document", "number"),
    [
        ({"cniVersion": "9.0.0"}, 1),
        ({"cniVersion": "0.4.0", "ips": [{"address": "10.0.0.1"}]}, 6),
        ({"cniVersion": "0.4.0", "ips": [{"address": "10.0.0.1/32", "interface": 3}]}, 6),
        ({"cniVersion": "0.4.0", "interfaces": {}}, 6),
        ({"cniVersion": "0.4.0", "interfaces": [{}]}, 6),
        ({"cniVersion": "1.0.0", "dns": []}, None),
    ],
)
def test_what_is_no_result_is_refused(document, number):
    if number is None:
        assert parse_result(document) == Result()
        return
    with pytest.raises(CniError) as caught:
        parse_result(document)
    assert caught.value.number == number
