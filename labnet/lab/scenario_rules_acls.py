"""What must hold for the network ACLs of a scenario (pure). Source: docs/sources.md#network-acls"""

from __future__ import annotations

from labnet.ec2.rules.network_acls import LAST_NUMBER, MAX_ICMP
from labnet.ec2.rules.quotas import ACLS_PER_VPC, ENTRIES_PER_DIRECTION
from labnet.lab import scenario_schema_vpc as vpcwords
from labnet.lab.scenario_problems import Findings, Path, nearest

DEFAULT = "default"
ICMP = ("icmp", "1")


def check_entries(entries: list[vpcwords.NetworkAclEntry], path: Path, findings: Findings) -> None:
    """Note what is wrong with the numbers of one direction, and with ICMP types."""
    if len(entries) > ENTRIES_PER_DIRECTION:
        findings.add(path, f"has {len(entries)} entries, and a direction has {ENTRIES_PER_DIRECTION} at most", "remove some")
    seen: set[int] = set()
    for n, entry in enumerate(entries):
        at: Path = (*path, n)
        if not 1 <= entry.rule_number <= LAST_NUMBER:
            findings.add((*at, "ruleNumber"), f"{entry.rule_number} is no rule number", f"1 to {LAST_NUMBER}")
        if entry.rule_number in seen:
            findings.add((*at, "ruleNumber"), f"a second entry with number {entry.rule_number}", "the number orders them: give it another")
        seen.add(entry.rule_number)
        for key, number in (("fromPort", entry.from_port), ("toPort", entry.to_port)):
            if entry.protocol in ICMP and number is not None and not -1 <= number <= MAX_ICMP:
                findings.add((*at, key), f"{number} is no ICMP type or code", f"-1 for all, to {MAX_ICMP}")


def check_uses(vpc: vpcwords.Vpc, path: Path, findings: Findings) -> None:
    """Note too many ACLs, and subnets that name none of the VPC."""
    if len(vpc.network_acls) >= ACLS_PER_VPC:
        message = f"has {len(vpc.network_acls)}, and a VPC has {ACLS_PER_VPC} at most"
        findings.add((*path, "networkAcls"), message, "remove some; the default one counts too")
    known = {acl.name for acl in vpc.network_acls} | {DEFAULT}
    for n, subnet in enumerate(vpc.subnets):
        if subnet.network_acl not in known:
            message = f"there is no network ACL {subnet.network_acl!r} in this VPC"
            findings.add((*path, "subnets", n, "networkAcl"), message, nearest(subnet.network_acl, known))
