"""CIDR blocks of VPCs: which are legal, which may stand beside one another, and the actions that add and remove them (pure).

Source: docs/sources.md#vpc-blocks
"""

from __future__ import annotations

from dataclasses import replace

from labnet.ec2.rules.find import blocks_of_route, get_vpc
from labnet.ec2.rules.quotas import CIDRS_PER_VPC
from labnet.ec2.rules.request import Context, Params, Result, action, invalid, new_id
from labnet.ec2.rules.shapes import vpc_shape
from labnet.errors import Ec2Error
from labnet.model.addressing import canonical, contains, overlap, prefix_length
from labnet.model.cloud import CloudState, Vpc

LARGEST, SMALLEST = 16, 28
NEVER = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "198.19.0.0/16", "224.0.0.0/4")
"""What no VPC can have as a further block."""
FAMILIES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Private ranges: a VPC's further blocks are of the family of its first one, or of none. Its own family is free to it."""
RESTRICTED = (
    "Use a CIDR from the same private address range as the current VPC CIDR, or use a publicly-routable CIDR. "
    "For additional restrictions, see https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"
)


def parse_cidr(text: str, parameter: str = "cidrBlock") -> str:
    """A CIDR block, host bits cleared. Errors: Ec2Error."""
    try:
        return canonical(text)
    except ValueError:
        raise invalid(f"Value ({text}) for parameter {parameter} is invalid. This is not a valid CIDR block.") from None


def parse_block(text: str, code: str) -> str:
    """A CIDR block of a size that VPCs and subnets can have, host bits cleared. Errors: Ec2Error `code`."""
    block = parse_cidr(text)
    if not LARGEST <= prefix_length(block) <= SMALLEST:
        raise Ec2Error(code, f"The CIDR '{text}' is invalid.")
    return block


def associate(state: CloudState, params: Params, context: Context) -> Result:
    """AssociateVpcCidrBlock: a further block of a VPC; its local routes follow."""
    vpc = get_vpc(state, params["VpcId"])
    cidr = parse_block(str(params["CidrBlock"]), "InvalidVpc.Range")
    if any(overlap(cidr, one) for one in vpc.cidrs):
        raise Ec2Error("InvalidVpc.Conflict", f"The CIDR '{cidr}' conflicts with another CIDR of VPC {vpc.id}")
    if is_restricted(vpc.cidrs[0], cidr):
        raise Ec2Error("InvalidVpc.Range", f"The CIDR '{cidr}' is restricted. {RESTRICTED}")
    _check_around(state, vpc, cidr)
    if len(vpc.cidrs) >= CIDRS_PER_VPC:
        raise Ec2Error("CidrLimitExceeded", f"This network '{vpc.id}' has met its maximum number of allowed CIDRs: {CIDRS_PER_VPC}")
    state, vpc = add_block(state, vpc, cidr)
    return state, {"VpcId": vpc.id, "CidrBlockAssociation": vpc_shape(state, vpc)["CidrBlockAssociationSet"][-1]}


def add_block(state: CloudState, vpc: Vpc, cidr: str) -> tuple[CloudState, Vpc]:
    """The VPC with one block more, under an id of its own."""
    state, made = new_id(state, "vpc-cidr-assoc", vpc.id)
    vpc = replace(vpc, cidrs=(*vpc.cidrs, cidr), cidr_ids={**vpc.cidr_ids, cidr: made})
    return replace(state, vpcs={**state.vpcs, vpc.id: vpc}), vpc


def is_restricted(primary: str, cidr: str) -> bool:
    """May a VPC with that first block not have the other one as a further block?"""
    own = next((family for family in FAMILIES if contains(family, primary)), None)
    if any(overlap(cidr, one) for one in NEVER) or any(overlap(cidr, one) for one in FAMILIES if one != own):
        return True
    return contains("10.0.0.0/15", primary) and overlap(cidr, "10.0.0.0/16")  # the VPCs of that range cannot grow into its first half


def _check_around(state: CloudState, vpc: Vpc, cidr: str) -> None:
    """A new block may not overlap a peer's, nor cover the destination of a route that leads elsewhere."""
    for peering in state.peerings.values():
        sides = (peering.requester.vpc_id, peering.accepter.vpc_id)
        if peering.state != "active" or vpc.id not in sides:
            continue
        peer = state.vpcs[sides[0] if sides[1] == vpc.id else sides[1]]
        if any(overlap(cidr, one) for one in peer.cidrs):
            raise Ec2Error("InvalidVpc.Conflict", f"The CIDR '{cidr}' conflicts with a CIDR of the peer VPC {peer.id}")
    for table in state.route_tables.values():
        for route in table.routes if table.vpc_id == vpc.id else ():
            if any(contains(cidr, block) for block in blocks_of_route(state, route)):
                text = f"The CIDR '{cidr}' conflicts with the route to {route.destination} in route table {table.id}"
                raise Ec2Error("InvalidVpc.Conflict", text)


def disassociate(state: CloudState, params: Params, context: Context) -> Result:
    """DisassociateVpcCidrBlock: neither the first block nor one with subnets in it."""
    wanted = str(params["AssociationId"])
    for vpc in state.vpcs.values():
        cidr = next((one for one, made in vpc.cidr_ids.items() if made == wanted), None)
        if cidr is not None:
            break
    else:
        text = f"The vpc CIDR block association ID '{wanted}' does not exist"
        raise Ec2Error("InvalidVpcCidrBlockAssociationID.NotFound", text)
    if cidr == vpc.cidrs[0]:
        text = f"The vpc CIDR block with association ID {wanted} may not be disassociated. It is the primary IPv4 CIDR block of the VPC"
        raise Ec2Error("OperationNotPermitted", text)
    if any(one.vpc_id == vpc.id and contains(cidr, one.cidr) for one in state.subnets.values()):
        raise Ec2Error("InvalidCidrBlock.InUse", f"The vpc {vpc.id} currently has a subnet within CIDR block {cidr}")
    shown = next(one for one in vpc_shape(state, vpc)["CidrBlockAssociationSet"] if one["AssociationId"] == wanted)
    tables = {  # a local route that led elsewhere goes with its block
        key: replace(table, routes=tuple(route for route in table.routes if route.destination != cidr))
        if table.vpc_id == vpc.id and any(route.destination == cidr for route in table.routes) else table
        for key, table in state.route_tables.items()
    }
    after = replace(
        vpc, cidrs=tuple(one for one in vpc.cidrs if one != cidr), cidr_ids={key: made for key, made in vpc.cidr_ids.items() if key != cidr},
    )
    state = replace(state, vpcs={**state.vpcs, vpc.id: after}, route_tables=tables)
    return state, {"VpcId": vpc.id, "CidrBlockAssociation": {**shown, "CidrBlockState": {"State": "disassociating"}}}


ACTIONS = {
    "AssociateVpcCidrBlock": action(associate, "VpcId CidrBlock", "VpcId CidrBlock", dry_run=False),
    "DisassociateVpcCidrBlock": action(disassociate, "AssociationId", "AssociationId", dry_run=False),
}
