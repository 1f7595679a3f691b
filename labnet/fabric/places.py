"""Which object of the cloud lives in which namespace, and whether it has a place there at all (pure)."""

from __future__ import annotations

from labnet.model import names
from labnet.model.cloud import CloudState, Eni, Instance, InternetGateway, Vpc


def vpc_netns_of(cloud: CloudState, vpc_id: str) -> str:
    """The namespace of a VPC: the first of a lab is not named, further ones by their tag Name, or by id where that is no name or taken."""
    return names.vpc_netns(cloud.lab, _suffix(cloud, vpc_id))


def igw_netns_of(cloud: CloudState, vpc_id: str) -> str:
    """The namespace of a VPC's internet gateway."""
    return names.igw_netns(cloud.lab, _suffix(cloud, vpc_id))


def vgw_netns_of(cloud: CloudState, vpc_id: str) -> str:
    """The namespace of a VPC's virtual private gateway."""
    return names.vgw_netns(cloud.lab, _suffix(cloud, vpc_id))


def site_netns_of(cloud: CloudState, site: str) -> str:
    """The namespace of a network outside of AWS: the first of a lab is not named."""
    return names.site_netns(cloud.lab, None if site == next(iter(cloud.sites)) else site)


def _suffix(cloud: CloudState, vpc_id: str) -> str | None:
    before: list[Vpc] = []
    for vpc in cloud.vpcs.values():
        if vpc.id == vpc_id:
            taken = any(other.name == vpc.name for other in before[1:])
            return None if not before else vpc.id if taken or not names.is_name(vpc.name) else vpc.name
        before.append(vpc)
    raise KeyError(vpc_id)


def gateway_of(cloud: CloudState, vpc_id: str) -> InternetGateway | None:
    """The internet gateway that is attached to a VPC."""
    return next((gateway for gateway in cloud.internet_gateways.values() if gateway.vpc_id == vpc_id), None)


def is_alive(instance: Instance | None) -> bool:
    """Has the instance a node?"""
    return instance is not None and instance.state in ("pending", "running")


def node_netns_of(cloud: CloudState, instance: Instance) -> str:
    """The namespace of an instance's node."""
    return names.node_netns(cloud.lab, instance.name)


def instance_of(cloud: CloudState, eni: Eni) -> Instance | None:
    """The living instance that an ENI is plugged into, or None: only what is attached has a port."""
    if eni.attachment is None or eni.attachment.status != "attached":
        return None
    instance = cloud.instances.get(eni.attachment.instance_id)
    return instance if is_alive(instance) else None


def is_plugged(cloud: CloudState, eni: Eni) -> bool:
    """Has the ENI a port in the fabric and a link on a node?"""
    return instance_of(cloud, eni) is not None


def namespaces(cloud: CloudState) -> tuple[str, ...]:
    """Every namespace that the cloud's objects need: networks outside, VPCs, gateways, NAT gateways, the Internet, nodes."""
    found = [site_netns_of(cloud, site) for site in cloud.sites]
    private = {gateway.vpc_id for gateway in cloud.vpn_gateways.values()}
    attached = {gateway.vpc_id for gateway in cloud.internet_gateways.values()}
    for vpc_id in cloud.vpcs:
        found.append(vpc_netns_of(cloud, vpc_id))
        if vpc_id in attached:
            found.append(igw_netns_of(cloud, vpc_id))
        if vpc_id in private:
            found.append(vgw_netns_of(cloud, vpc_id))
    if any(vpc_id in cloud.vpcs for vpc_id in attached if vpc_id is not None):
        found.append(names.internet_netns(cloud.lab))
    nats = (nat for nat in cloud.nat_gateways.values() if nat.state == "available" and nat.vpc_id in cloud.vpcs)
    found += [names.nat_netns(cloud.lab, nat.id) for nat in nats]
    found += [node_netns_of(cloud, instance) for instance in cloud.instances.values() if is_alive(instance)]
    return tuple(found)
