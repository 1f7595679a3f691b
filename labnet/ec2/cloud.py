"""The table of actions, and one call through it (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from labnet.ec2.rules import (
    addresses,
    blocks,
    cidr_reservations,
    dhcp_options,
    elastic_addresses,
    eni_attributes,
    enis,
    grouprules,
    groups,
    instance_attributes,
    instance_types,
    instance_views,
    instances,
    nat_gateways,
    network_acls,
    networks,
    peerings,
    prefix_lists,
    route_tables,
    routes,
    tags,
    vpn_connections,
    vpn_gateways,
    zones,
)
from labnet.ec2.rules.request import Action, Context, Params, Result, check_parameters
from labnet.errors import Ec2Error
from labnet.model.cloud import CloudState

ACTIONS: Mapping[str, Action] = {
    **networks.ACTIONS, **blocks.ACTIONS, **zones.ACTIONS, **route_tables.ACTIONS, **routes.ACTIONS, **elastic_addresses.ACTIONS,
    **nat_gateways.ACTIONS, **network_acls.ACTIONS, **peerings.ACTIONS, **cidr_reservations.ACTIONS, **dhcp_options.ACTIONS,
    **groups.ACTIONS, **grouprules.ACTIONS, **instances.ACTIONS, **instance_attributes.ACTIONS, **instance_views.ACTIONS,
    **instance_types.ACTIONS, **enis.ACTIONS, **prefix_lists.ACTIONS, **eni_attributes.ACTIONS, **addresses.ACTIONS, **tags.ACTIONS,
    **vpn_gateways.ACTIONS, **vpn_connections.ACTIONS,
}


def execute(state: CloudState, name: str, params: Params, context: Context) -> Result:
    """Answer one request; the state is the same object when nothing changed. Errors: Ec2Error, with nothing changed."""
    entry = ACTIONS.get(name) or vpn_connections.DIRECT_CONNECT.get(name)
    if entry is None:
        raise Ec2Error("InvalidAction", f"The action {name} is not valid for this web service.")
    check_parameters(entry, params)
    result = entry.rule(state, params, context)
    if params.get("DryRun"):  # rules are pure: what they would do is known, and dropped
        raise Ec2Error("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    return result
