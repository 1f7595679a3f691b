"""The whole kernel state of the worked node for each setting, compared with tests/golden/node_state (`make golden` writes it anew)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders_node_state import VPC, WorkedNode

from labnet.errors import IpamError, UsageError
from labnet.ipamd.settings import Dialect, Settings
from labnet.model.netstate import Backend

pytestmark = pytest.mark.kernel
GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "node_state"
CNI = "AWS_VPC_K8S_CNI_"
SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "node-port-off": {"AWS_VPC_CNI_NODE_PORT_SUPPORT": "false"},
    "external-snat": {f"{CNI}EXTERNALSNAT": "true"},
    "external-snat-node-port-off": {f"{CNI}EXTERNALSNAT": "true", "AWS_VPC_CNI_NODE_PORT_SUPPORT": "false"},
    "randomize-prng": {f"{CNI}RANDOMIZESNAT": "prng"},
    "randomize-hashrandom": {f"{CNI}RANDOMIZESNAT": "hashrandom"},
    "randomize-none": {f"{CNI}RANDOMIZESNAT": "none"},
    "exclude-one": {f"{CNI}EXCLUDE_SNAT_CIDRS": "192.168.0.0/16"},
    "exclude-several": {f"{CNI}EXCLUDE_SNAT_CIDRS": " 192.168.7.7/16 ,172.20.0.0/14,nonsense,192.168.0.0/16,fd00::/8,10.20.30.40/32"},
    "exclude-vpc-block": {f"{CNI}EXCLUDE_SNAT_CIDRS": "10.10.0.0/16"},
    "exclude-anywhere": {f"{CNI}EXCLUDE_SNAT_CIDRS": "0.0.0.0/0"},
    "exclude-with-external-snat": {f"{CNI}EXCLUDE_SNAT_CIDRS": "192.168.0.0/16", f"{CNI}EXTERNALSNAT": "true"},
    "two-vpc-blocks": {},
    "connmark-decimal": {f"{CNI}CONNMARK": "256"},
    "connmark-hexadecimal": {f"{CNI}CONNMARK": "0x40000000"},
    "connmark-all-bits": {f"{CNI}CONNMARK": "0xffffffff"},
    "veth-prefix": {f"{CNI}VETHPREFIX": "veth"},
    "external-services": {"AWS_EXTERNAL_SERVICE_CIDRS": "10.10.99.0/24, 52.94.0.0/22"},
    "eni-mtu": {"AWS_VPC_ENI_MTU": "1300"},
    "pod-mtu": {"AWS_VPC_ENI_MTU": "1300", "POD_MTU": "1280"},
    "early-demux-off": {"DISABLE_TCP_EARLY_DEMUX": "true"},
}
BLOCKS = {"two-vpc-blocks": ("10.10.0.0/16", "100.64.0.0/16")}
SYSCTLS = ("net.ipv4.conf.eth0.rp_filter", "net.ipv4.conf.eth1.rp_filter", "net.ipv4.tcp_early_demux", "net.ipv4.ip_forward")


def portrait(node: WorkedNode) -> Iterator[str]:
    """Everything the daemon and the plugin decide, as the programs print it; names of namespaces and MACs of veths left out."""
    for words in ("rule", "route show table main", "route show table 2"):
        yield from (f"$ ip {words}", *node.ip(*words.split()))
    yield "$ ip -4 -o addr"
    yield from (" ".join(line.split()[1:]).split("\\")[0].rstrip() for line in node.ip("-4", "-o", "addr"))
    yield "$ ip -o link"
    links = node.ip("-o", "link")
    yield from sorted(" ".join([words[1].split("@")[0], *words[3:5]]) for line in links if (words := line.split())[1] != "lo:")
    yield from ("$ sysctl", *node.say("sysctl", *SYSCTLS).splitlines())
    for table in ("nat", "mangle"):
        yield from (f"$ iptables-save -t {table}", *node.save(table).splitlines())
    if "table ip aws-cni" in node.nft_tables():
        yield from ("$ nft list table ip aws-cni", *node.say("nft", "list", "table", "ip", "aws-cni").splitlines())


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_state_is_the_golden_one(node_of: Callable[[Backend], WorkedNode], setting: str, request: pytest.FixtureRequest) -> None:
    lines: list[str] = []
    dialects: tuple[Dialect, ...] = ("1.23", "1.6")
    for dialect in dialects:
        backends: tuple[Backend, ...] = ("nft", "legacy")
        for backend in backends:
            lines.append(f"##### dialect {dialect}, iptables {backend}")
            try:
                settings = Settings.from_env(SETTINGS[setting], dialect)
                node = node_of(backend).whole(settings, BLOCKS.get(setting, VPC))
            except (UsageError, IpamError) as error:
                lines.append(f"refused: {error.message}")
                continue
            lines += portrait(node)
            assert node.drift() == []
    text = "\n".join([*lines, ""])
    path = GOLDEN / f"{setting}.txt"
    if request.config.getoption("--refresh-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.is_file(), "no golden file: `make golden` writes it, review the difference"
    assert text == path.read_text(), "`make golden` writes it anew, review the difference"


def test_no_golden_file_is_forgotten() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(SETTINGS)
