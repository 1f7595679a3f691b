"""What surprises people about the VPC CNI's pool, each as it is there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from builders_ipamd import TAGS, Node

Make = Callable[..., Node]


def test_an_empty_first_eni_is_the_warm_one_and_the_first_pod_brings_the_second(node: Make) -> None:
    one = node("m5.xlarge").start()
    one.wait(60)
    assert one.pool == (1, 14)
    one.add()
    one.wait(5)
    assert one.pool == (2, 28)


def test_a_rush_of_pods_outruns_the_pool(node: Make) -> None:
    """One step a look: of twelve pods at once three get an address, and the rest three more every five seconds."""
    one = node("t3.medium", {"WARM_IP_TARGET": "3"}).start()
    waiting = [f"pod{number}" for number in range(12)]
    served: list[int] = []
    for _ in range(8):
        got = [pod for pod in waiting if one.add(pod).success]
        waiting = [pod for pod in waiting if pod not in got]
        served.append(len(got))
        one.wait(5)
    assert served[0] == 3 and sum(served) == 12 and all(count <= 3 for count in served)
    times = [record["time"] for record in one.ledger.read("ec2-calls") if record["action"] == "AssignPrivateIpAddresses"]
    assert all(b - a >= 2 for a, b in pairwise(times))


def test_enough_addresses_for_max_pods_stop_the_growth_and_not_the_shrinking(node: Make) -> None:
    one = node("m5.xlarge", {"WARM_IP_TARGET": "10"}, max_pods=12).start()
    one.pods(3)
    one.wait(30)
    assert one.pool == (1, 13)
    one.pods(8)
    one.wait(30)
    assert one.pool == (1, 13), "five free ones of ten, but thirteen are enough for twelve pods"
    for number in range(8):
        one.delete(f"pod{number}")
    one.until(lambda: one.pool == (1, 10), 60)


def test_an_excluded_eni_takes_a_place(node: Make) -> None:
    one = node("t3.small", {"MAX_ENI": "2"})
    one.more_subnets("10.10.64.0/20", role="1")
    one.aws("CreateTags", Resources=[one.subnet], Tags=[{"Key": TAGS["role"], "Value": "0"}])
    one.start()
    assert len(one.pods(3)) == 3
    one.wait(60)
    assert one.pool == (2, 3) and one.calls().count("CreateNetworkInterface") == 1
    assert one.add("fourth").success is False


def test_a_pool_that_loses_an_eni_with_pods_still_adds_up(node: Make) -> None:
    """The VPC CNI's own total goes low or negative here; every sum is counted anew here each time."""
    one = node().start()
    one.pods(5)
    one.wait(20)
    second = one.ec2.state.enis[one.enis()[1]]
    assert second.attachment is not None
    one.aws("DetachNetworkInterface", AttachmentId=second.attachment.id, Force=True)
    one.until(lambda: "EniLost" in one.events.reasons())
    state = one.ipamd.state()
    assert state["total"] == sum(len(eni["addresses"]) for eni in state["enis"]) == 6
    assert state["available"] == state["total"] - state["assigned"] == 3


def test_an_eni_lives_a_minute_and_its_addresses_rest_half_of_one(node: Make) -> None:
    """Two of four timers that are not the same; the others are 60 s before what went back is believed and 120 s after an empty subnet."""
    one = node("t3.small").start()
    one.pods(1)
    one.until(lambda: one.pool == (2, 6))
    born_s = one.clock.now_s()
    one.wait(5)
    one.delete("pod0")
    freed_s = one.clock.now_s()
    one.until(lambda: one.pool == (1, 3))
    gone_s = one.clock.now_s()
    assert gone_s - freed_s > 30 and 60 <= gone_s - born_s <= 67
    assert one.add("next").allocations[0].ipv4_addr, "rested by then"
