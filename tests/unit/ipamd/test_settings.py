"""Every variable of the VPC CNI: it acts, is harmless, or is refused by name; and what the entrypoint refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from labnet.errors import UsageError
from labnet.ipamd.settings import Settings
from labnet.ipamd.variables import ACCEPTED, ACTING, OF_RELEASE_1_6, VARIABLES, WITHOUT_EFFECT, refusals

SPECIFIED = """
    WARM_IP_TARGET WARM_ENI_TARGET AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG AWS_VPC_K8S_CNI_EXTERNALSNAT AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS
    AWS_VPC_K8S_CNI_LOG_FILE MAX_ENI MINIMUM_IP_TARGET WARM_PREFIX_TARGET ENABLE_PREFIX_DELEGATION AWS_VPC_CNI_NODE_PORT_SUPPORT
    AWS_VPC_K8S_CNI_RANDOMIZESNAT AWS_VPC_K8S_CNI_CONNMARK AWS_VPC_K8S_CNI_VETHPREFIX AWS_VPC_ENI_MTU POD_MTU AWS_EXTERNAL_SERVICE_CIDRS
    IP_COOLDOWN_PERIOD AWS_MANAGE_ENIS_NON_SCHEDULABLE DISABLE_NETWORK_RESOURCE_PROVISIONING ENABLE_IMDS_ONLY_MODE
    DISABLE_LEAKED_ENI_CLEANUP MANAGE_UNTAGGED_ENI ENABLE_SUBNET_DISCOVERY ENABLE_POD_ENI POD_SECURITY_GROUP_ENFORCING_MODE
    DISABLE_TCP_EARLY_DEMUX ENABLE_MULTI_NIC ENABLE_IPv4 ENABLE_IPv6 ENABLE_V6_EGRESS ENABLE_V4_EGRESS DISABLE_POD_V6
    ENABLE_BANDWIDTH_PLUGIN NETWORK_POLICY_ENFORCING_MODE ANNOTATE_POD_IP ENI_CONFIG_ANNOTATION_DEF ENI_CONFIG_LABEL_DEF
    ADDITIONAL_ENI_TAGS CLUSTER_NAME CLUSTER_ENDPOINT AWS_EC2_ENDPOINT HTTP_TIMEOUT INTROSPECTION_BIND_ADDRESS DISABLE_INTROSPECTION
    DISABLE_METRICS AWS_VPC_K8S_CNI_LOGLEVEL AWS_VPC_K8S_PLUGIN_LOG_FILE AWS_VPC_K8S_PLUGIN_LOG_LEVEL
    AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE AWS_VPC_K8S_CNI_BACKING_STORE HOST_CNI_BIN_PATH
    HOST_CNI_CONFDIR_PATH MY_NODE_NAME MY_POD_NAME VPC_CNI_VERSION AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER ENABLE_NFTABLES USE_CLOUDWATCH
    USE_PROMETHEUS METRIC_UPDATE_INTERVAL AWS_CLUSTER_ID
"""


def read(env: Mapping[str, str], dialect: Any = "1.23") -> Settings:
    return Settings.from_env(env, dialect)


def test_every_variable_of_the_vpc_cni_has_one_place() -> None:
    assert set(SPECIFIED.split()) == VARIABLES
    assert not ACTING & WITHOUT_EFFECT
    assert not (ACTING | WITHOUT_EFFECT) & ACCEPTED.keys()
    assert OF_RELEASE_1_6 <= VARIABLES


@pytest.mark.parametrize(
    ("env", "field", "value"),
    [
        ({"WARM_IP_TARGET": "4"}, "warm_ips", 4), ({"WARM_IP_TARGET": "-4"}, "warm_ips", 0), ({"WARM_IP_TARGET": "x"}, "warm_ips", 0),
        ({"WARM_ENI_TARGET": "0"}, "warm_enis", 0), ({"WARM_ENI_TARGET": ""}, "warm_enis", 1), ({"MINIMUM_IP_TARGET": "9"}, "minimum_ips", 9),
        ({"WARM_PREFIX_TARGET": "2"}, "warm_prefixes", 2), ({"MAX_ENI": "2"}, "max_enis", 2), ({"MAX_ENI": "0"}, "max_enis", None),
        ({"MAX_ENI": "-1"}, "max_enis", None), ({"IP_COOLDOWN_PERIOD": "0"}, "cooldown_s", 0), ({}, "cooldown_s", 30),
        ({"ENABLE_PREFIX_DELEGATION": "t"}, "prefix_delegation", True), ({"AWS_VPC_CNI_NODE_PORT_SUPPORT": "F"}, "node_port_support", False),
        ({"AWS_VPC_CNI_NODE_PORT_SUPPORT": "no"}, "node_port_support", True), ({"AWS_VPC_K8S_CNI_CONNMARK": "0x40"}, "connmark", 0x40),
        ({"AWS_VPC_K8S_CNI_CONNMARK": "many"}, "connmark", 0x80), ({"AWS_VPC_K8S_CNI_RANDOMIZESNAT": "none"}, "randomize_snat", "none"),
        ({"AWS_VPC_K8S_CNI_RANDOMIZESNAT": "x"}, "randomize_snat", "prng"), ({"AWS_VPC_K8S_CNI_VETHPREFIX": ""}, "veth_prefix", "eni"),
        ({"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": " 10.1.2.3/16, x,fe80::/64,10.1.0.0/16 "}, "exclude_snat_cidrs", ("10.1.0.0/16",)),
        ({"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": "10.1.0.0/16", "AWS_VPC_K8S_CNI_EXTERNALSNAT": "1"}, "exclude_snat_cidrs", ()),
        ({"AWS_EXTERNAL_SERVICE_CIDRS": "172.20.0.0/16"}, "external_service_cidrs", ("172.20.0.0/16",)),
        ({"AWS_VPC_ENI_MTU": "1300"}, "pod_mtu_bytes", 1300), ({"AWS_VPC_ENI_MTU": "1300", "POD_MTU": "1280"}, "pod_mtu_bytes", 1280),
        ({"POD_MTU": "1280"}, "eni_mtu_bytes", 9001), ({"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "true"}, "custom_networking", True),
        ({"ENI_CONFIG_LABEL_DEF": "zone"}, "eni_config_label", "zone"), ({}, "eni_config_annotation", "k8s.amazonaws.com/eniConfig"),
        ({"AWS_MANAGE_ENIS_NON_SCHEDULABLE": "true"}, "manage_enis_non_schedulable", True), ({}, "provisioning", True),
        ({"DISABLE_NETWORK_RESOURCE_PROVISIONING": "true"}, "provisioning", False), ({"ENABLE_IMDS_ONLY_MODE": "true"}, "provisioning", False),
        ({"ENABLE_IMDS_ONLY_MODE": "true"}, "imds_only", True), ({"ENABLE_IMDS_ONLY_MODE": "true"}, "leaked_eni_cleanup", False),
        ({"DISABLE_NETWORK_RESOURCE_PROVISIONING": "true"}, "leaked_eni_cleanup", False), ({}, "leaked_eni_cleanup", True),
        ({"DISABLE_LEAKED_ENI_CLEANUP": "true"}, "leaked_eni_cleanup", False),
        ({"MANAGE_UNTAGGED_ENI": "false"}, "manage_untagged_enis", False),
        ({"DISABLE_TCP_EARLY_DEMUX": "true"}, "early_demux", False), ({"ANNOTATE_POD_IP": "true"}, "annotate_pod_ip", True),
        ({"AWS_VPC_K8S_CNI_LOG_FILE": "/host/var/log/aws-routed-eni/x.log"}, "log_file", "/var/log/aws-routed-eni/x.log"),
        ({"AWS_VPC_K8S_CNI_LOG_FILE": "stdout"}, "log_file", "stdout"), ({}, "log_file", "/var/log/aws-routed-eni/ipamd.log"),
        ({"AWS_VPC_K8S_CNI_LOGLEVEL": "Warn"}, "log_level", "warn"), ({"AWS_VPC_K8S_CNI_LOGLEVEL": "loud"}, "log_level", "debug"),
        ({"AWS_VPC_K8S_PLUGIN_LOG_FILE": "stderr"}, "plugin_log_file", "stderr"), ({}, "checkpoint_path", "/var/run/aws-node/ipam.json"),
        ({"AWS_VPC_K8S_CNI_BACKING_STORE": "/var/run/aws-node/a.json"}, "checkpoint_path", "/var/run/aws-node/a.json"),
        ({"ADDITIONAL_ENI_TAGS": '{"a": "b", "k8s.amazonaws.com/x": "y"}'}, "additional_tags", {"a": "b"}),
        ({"ADDITIONAL_ENI_TAGS": "{"}, "additional_tags", {}), ({"ADDITIONAL_ENI_TAGS": '["a"]'}, "additional_tags", {}),
        ({"ENABLE_SUBNET_DISCOVERY": "false"}, "subnet_discovery", False), ({"CLUSTER_NAME": "prod"}, "cluster_name", "prod"),
    ],
)
def test_a_variable_is_read_as_the_vpc_cni_reads_it(env: dict[str, str], field: str, value: object) -> None:
    assert getattr(read(env), field) == value


def test_defaults_of_release_1_6() -> None:
    old = read({}, "1.6")
    assert (old.randomize_snat, old.subnet_discovery) == ("hashrandom", False)


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_what_labnet_does_not_do_is_refused_by_name(name: str) -> None:
    for value in ACCEPTED[name]:
        read({name: value})
    with pytest.raises(UsageError, match=f"^{name}=something is not supported by labnet yet$"):
        read({name: "something"})


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_release_1_6_knows_its_own_variables_alone(name: str) -> None:
    value = sorted(ACCEPTED.get(name, {""}))[-1]
    if name in OF_RELEASE_1_6:
        read({name: value}, "1.6")
        return
    with pytest.raises(UsageError, match=f"^{name} is not known to release 1.6 of the VPC CNI$"):
        read({name: value}, "1.6")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"AWS_VPC_K8S_PLUGIN_LOG_FILE": "stdout"}, "AWS_VPC_K8S_PLUGIN_LOG_FILE=stdout"),
        ({"AWS_VPC_K8S_CNI_VETHPREFIX": "toolong"}, "VETHPREFIX=toolong"), ({"AWS_VPC_K8S_CNI_VETHPREFIX": "eth"}, "VETHPREFIX=eth"),
        ({"AWS_VPC_K8S_CNI_VETHPREFIX": "lo"}, "VETHPREFIX=lo"), ({"AWS_VPC_K8S_CNI_VETHPREFIX": "vlan"}, "VETHPREFIX=vlan"),
        ({"IP_COOLDOWN_PERIOD": "-1"}, "IP_COOLDOWN_PERIOD=-1"), ({"IP_COOLDOWN_PERIOD": "30s"}, "IP_COOLDOWN_PERIOD=30s"),
        ({"AWS_VPC_ENI_MTU": "575"}, "AWS_VPC_ENI_MTU=575"), ({"POD_MTU": "9002"}, "POD_MTU=9002"), ({"POD_MTU": "jumbo"}, "POD_MTU=jumbo"),
        ({"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "0"}, "ENABLE_PREFIX_DELEGATION cannot be taken without"),
        ({"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": ""}, "ENABLE_PREFIX_DELEGATION cannot be taken without"),
        ({"AWS_VPC_K8S_CNI_LOG_FILE": "/tmp/x.log"}, "AWS_VPC_K8S_CNI_LOG_FILE=/tmp/x.log"),
        ({"AWS_VPC_K8S_CNI_LOG_FILE": "/host/var/log/aws-routed-eni/../x"}, "AWS_VPC_K8S_CNI_LOG_FILE="),
        ({"AWS_VPC_K8S_CNI_BACKING_STORE": "ipam.json"}, "AWS_VPC_K8S_CNI_BACKING_STORE=ipam.json"),
        ({"AWS_VPC_K8S_PLUGIN_LOG_FILE": "/etc/passwd"}, "AWS_VPC_K8S_PLUGIN_LOG_FILE=/etc/passwd"),
        ({"WARM_ENI_TARGTE": "1"}, "the VPC CNI has no variable WARM_ENI_TARGTE"),
    ],
)
def test_what_the_entrypoint_refuses_keeps_the_daemon_from_starting(env: dict[str, str], message: str) -> None:
    assert [message in one.message for one in refusals(env, "1.23")] == [True]
    with pytest.raises(UsageError) as caught:
        read(env)
    assert message in caught.value.message


@pytest.mark.parametrize(
    "env",
    [
        {"ENABLE_PREFIX_DELEGATION": "true"}, {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "0", "WARM_IP_TARGET": "1"},
        {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "0", "MINIMUM_IP_TARGET": "00"},  # texts are compared, as there
        {"ENABLE_PREFIX_DELEGATION": "false", "WARM_PREFIX_TARGET": "0"}, {"AWS_VPC_ENI_MTU": "576", "POD_MTU": "9001"},
        {"AWS_VPC_K8S_PLUGIN_LOG_FILE": "/var/log/plugin.log"}, {"IP_COOLDOWN_PERIOD": ""}, {"AWS_VPC_K8S_CNI_VETHPREFIX": "veth"},
    ],
)
def test_what_the_entrypoint_takes(env: dict[str, str]) -> None:
    assert list(refusals(env, "1.23")) == []
