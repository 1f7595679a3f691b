"""A scenario's prefix lists as EC2 calls."""

from __future__ import annotations

from collections.abc import Iterable

from labnet.ec2.rules.quotas import MAX_ENTRIES_A_CALL
from labnet.lab.routes_setup import tagged
from labnet.model.scenario import PrefixListSpec
from labnet.ports import Ec2Api


async def make_lists(api: Ec2Api, specs: Iterable[PrefixListSpec]) -> dict[str, str]:
    """Create the lists, with as many entries a call as EC2 takes; ids by name. Errors: Ec2Error."""
    made: dict[str, str] = {}
    for spec in specs:
        entries = [{"Cidr": cidr, **({"Description": said} if said else {})} for cidr, said in spec.entries]
        params = {
            "PrefixListName": spec.name, "MaxEntries": spec.max_entries, "AddressFamily": "IPv4",
            "Entries": entries[:MAX_ENTRIES_A_CALL], "TagSpecifications": [tagged("prefix-list", spec.name)],
        }
        shown = (await api.call("CreateManagedPrefixList", params))["PrefixList"]
        for start in range(MAX_ENTRIES_A_CALL, len(entries), MAX_ENTRIES_A_CALL):
            more = {
                "PrefixListId": shown["PrefixListId"], "CurrentVersion": shown["Version"],
                "AddEntries": entries[start : start + MAX_ENTRIES_A_CALL],
            }
            shown = (await api.call("ModifyManagedPrefixList", more))["PrefixList"]
        made[spec.name] = str(shown["PrefixListId"])
    return made
