import importlib.util, sys, types
from dataclasses import dataclass
if "labnet.ipamd.rpc" not in sys.modules and importlib.util.find_spec("labnet.ipamd.rpc") is None:
    m = types.ModuleType("labnet.ipamd.rpc")
    @dataclass(frozen=True)
    class IpAllocation:
        ipv4_addr: str
        device_number: int
        route_table_id: int
    @dataclass(frozen=True)
    class AddNetworkRequest:
        pod_name: str; pod_namespace: str; infra_container_id: str; netns: str; if_name: str; network_name: str; container_id: str
    @dataclass(frozen=True)
    class AddNetworkReply:
        success: bool; allocations: tuple = (); use_external_snat: bool = False; vpc_v4_cidrs: tuple = ()
    @dataclass(frozen=True)
    class DelNetworkRequest:
        pod_name: str; pod_namespace: str; infra_container_id: str; pod_uid: str; reason: str; if_name: str; network_name: str; container_id: str
    @dataclass(frozen=True)
    class DelNetworkReply:
        success: bool; allocations: tuple = ()
    for c in (IpAllocation, AddNetworkRequest, AddNetworkReply, DelNetworkRequest, DelNetworkReply):
        setattr(m, c.__name__, c)
    sys.modules["labnet.ipamd.rpc"] = m
