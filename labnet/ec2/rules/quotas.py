"""How much of each thing EC2 gives to an account that never asked for more (pure): refused by the API beyond, and by `validate` before.

Source: docs/sources.md#quotas
"""

from __future__ import annotations

VPCS_PER_REGION = 5
CIDRS_PER_VPC = 5
GATEWAYS_PER_REGION = 5
SUBNETS_PER_VPC = 200
TABLES_PER_VPC = 200
ROUTES_PER_TABLE = 50
"""Local routes are not counted; a route to a prefix list counts as many as the list has room for."""
ACLS_PER_VPC = 200
ENTRIES_PER_DIRECTION = 20
GATEWAYS_PER_ZONE = 5
"""NAT gateways."""
ADDRESSES_PER_REGION = 5
"""Elastic IPs."""
ACTIVE_PER_VPC, PENDING_PER_VPC = 50, 25
"""Peering connections, and those that wait for an answer."""
GROUPS_PER_REGION = 2_500
GROUPS_PER_ENI = 5
RULES_PER_DIRECTION = 60
"""Of a security group; a rule that names a prefix list counts as many as the list has room for."""
ENIS_PER_REGION = 5_000
LISTS_PER_REGION = 100
MAX_SIZE, MAX_ENTRIES_A_CALL = 1_000, 100
"""Of a prefix list: its room, and how many entries one request names."""
SETS_PER_REGION = 200
"""DHCP options sets."""
