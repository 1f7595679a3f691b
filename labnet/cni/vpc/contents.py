"""What the VPC CNI writes into a result, and reads back from it when its daemon is down (pure).

Interfaces, in order: the node's end; the pod's end, whose `mac` is the number of the route table; and ``dummy<hash>``, which
does not exist, whose `mac` is the VLAN id (0) and whose `sandbox` is the device number. Numbers are decimal text. The address
belongs to the pod's end and has no gateway. So DEL can clean up from the result alone.
Source: docs/sources.md#vpc-cni-plugin
"""

from __future__ import annotations

from collections.abc import Iterable

from labnet.cni.result import Result, ResultInterface, ResultIp
from labnet.cni.vpc.plan import FROM_POD_PRIORITY, TO_POD_PRIORITY
from labnet.model.netstate import TABLE_MAIN, Addr, Link, Route, Rule, Slice

DUMMY_PREFIX = "dummy"
NO_VLAN = "0"
LEGACY_MAIN = 1  # what old releases wrote for the main table


def result_of(
    *, host_link: str, ifname: str, sandbox: str, table: int, device_number: int, address: str, pod_hash: str
) -> Result:
    """The result of one ADD; `address` without mask."""
    interfaces = (
        ResultInterface(host_link),
        ResultInterface(ifname, str(table), sandbox),
        ResultInterface(f"{DUMMY_PREFIX}{pod_hash}", NO_VLAN, str(device_number)),
    )
    return Result(interfaces, (ResultIp(f"{address}/32", interface=1),))


def left_by_add(result: Result | None) -> tuple[tuple[str, int], ...]:
    """(address, table) of every pod's end in a remembered result; a table that cannot be read is told by the device number."""
    if result is None:
        return ()
    dummy = next((item for item in result.interfaces if item.name.startswith(DUMMY_PREFIX)), None)
    spare = table_of_device(int(dummy.sandbox)) if dummy is not None and dummy.sandbox.isdecimal() else TABLE_MAIN
    found = []
    for item in result.ips:
        end = result.interfaces[item.interface] if item.interface is not None else None
        table = int(end.mac) if end is not None and end.mac.isdecimal() else spare
        found.append((item.address.partition("/")[0], table))
    return tuple(found)


def table_of_device(device_number: int) -> int:
    """The route table of an ENI by its device index, on the first network card: main for the primary, else index + 1."""
    return TABLE_MAIN if device_number == 0 else device_number + 1


def device_of_table(table: int) -> int:
    """The device index behind a table, the other way round."""
    return 0 if table in (TABLE_MAIN, LEGACY_MAIN) else table - 1


def expected_result(in_pod: Slice, on_node: Slice, sandbox: str, pod_hash: str) -> Result:
    """The result that an attachment's slices stand for."""
    table = next((item.table for item in on_node.objects if isinstance(item, Rule) and item.src is not None), TABLE_MAIN)
    address = next(item.address for item in in_pod.objects if isinstance(item, Addr))
    host_link = next(item.name for item in on_node.objects if isinstance(item, Link))
    ifname = next(item.name for item in in_pod.objects if isinstance(item, Link))
    return result_of(
        host_link=host_link, ifname=ifname, sandbox=sandbox, table=table, device_number=device_of_table(table), address=address,
        pod_hash=pod_hash,
    )


def rules_and_route(state: Iterable[object], address: str, table: int) -> tuple[Rule | Route, ...]:
    """What a node holds for a pod: the rule to it, the rules from it into its table, its route in main."""
    pod = f"{address}/32"
    found: list[Rule | Route] = []
    for item in state:
        to_pod = isinstance(item, Rule) and item.priority == TO_POD_PRIORITY and item.dst == pod and item.src is None
        from_pod = isinstance(item, Rule) and item.priority == FROM_POD_PRIORITY and item.src == pod and item.table == table
        route = isinstance(item, Route) and item.dst == pod and item.table == TABLE_MAIN and item.scope == "link"
        if isinstance(item, Rule | Route) and (to_pod or route or (from_pod and table not in (TABLE_MAIN, LEGACY_MAIN))):
            found.append(item)
    return tuple(found)
