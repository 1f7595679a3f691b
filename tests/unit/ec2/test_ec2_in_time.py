"""The service under behaviour: latency, the ledger, SDK retries, and metadata that lags behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from labnet.ec2 import ledger, limits, moments
from labnet.ec2.imds import InProcessImds
from labnet.ec2.service import Ec2Service
from labnet.errors import Ec2Error
from labnet.lab.store import MemoryStore
from labnet.model.behaviour import Ec2Spec, Latency
from labnet.model.cloud import CloudState
from labnet.sim.clock import LabClock, new_event_loop

START_S = 1_000_000.0


class Place:
    """A VPC with a subnet and an instance, made by the lab itself."""

    def __init__(self, spec: Ec2Spec | None = None) -> None:
        self.clock, self.store = LabClock(START_S), MemoryStore()
        self.service = Ec2Service(CloudState(lab="t", seed=7), limits.load(), self.clock, self.store)
        self.service.behaviour.configure(spec or Ec2Spec())
        self.vpc = self.lab("CreateVpc", CidrBlock="10.10.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.lab("CreateSubnet", VpcId=self.vpc, CidrBlock="10.10.0.0/24")["Subnet"]["SubnetId"]
        params = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": self.subnet}
        self.instance = self.lab("RunInstances", **params)["Instances"][0]["InstanceId"]
        self.eni = self.service.state.enis_of(self.instance)[0].id

    def lab(self, action: str, **params: Any) -> dict[str, Any]:
        return self.service.call("labnet", action, params)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        loop = new_event_loop(self.clock)
        try:
            return loop.run_until_complete(main)
        finally:
            loop.close()

    def api(self, action: str, **params: Any) -> Coroutine[Any, Any, dict[str, Any]]:
        return self.service.client("node1").call(action, params)

    def calls(self) -> list[dict[str, Any]]:
        return [item for item in self.store.read("ec2-calls") if item["caller"] != "labnet"]


def test_a_call_takes_effect_at_the_end_of_its_latency() -> None:
    place = Place(Ec2Spec(latency={"AssignPrivateIpAddresses": Latency(2, 2)}))
    seen: list[int] = []

    async def main() -> None:
        asked = asyncio.ensure_future(place.api("AssignPrivateIpAddresses", NetworkInterfaceId=place.eni, SecondaryPrivateIpAddressCount=1))
        await place.clock.sleep(1.9)
        seen.append(len(place.service.state.enis[place.eni].addresses))
        await asked
        seen.append(len(place.service.state.enis[place.eni].addresses))

    place.run(main())
    assert seen == [1, 2]
    assert place.clock.now_s() == START_S + 2
    assert [(item["time"], item["latency"], item["result"]) for item in place.calls()] == [(START_S, 2, "OK")]


def test_two_slow_calls_for_one_thing_are_decided_by_the_rules() -> None:
    place = Place(Ec2Spec(latency={"*": Latency(1, 3)}))
    wanted = {"NetworkInterfaceId": place.eni, "PrivateIpAddresses": ["10.10.0.77"]}

    async def main() -> list[Any]:
        other = place.lab("CreateNetworkInterface", SubnetId=place.subnet)["NetworkInterface"]["NetworkInterfaceId"]
        asked = (place.api("AssignPrivateIpAddresses", **{**wanted, "NetworkInterfaceId": one}) for one in (place.eni, other))
        return await asyncio.gather(*asked, return_exceptions=True)

    results = place.run(main())
    assert sorted(item.code if isinstance(item, Ec2Error) else "OK" for item in results) == ["InvalidIPAddress.InUse", "OK"]


def test_a_refusal_waits_for_nothing() -> None:
    place = Place(Ec2Spec(latency={"*": Latency(9, 9)}))
    place.service.behaviour.fail("CreateTags", "Own.Code")
    with pytest.raises(Ec2Error, match=r"Own\.Code"):
        place.run(place.api("CreateTags", Resources=[place.eni], Tags=[]))
    assert place.clock.now_s() == START_S


def test_an_sdk_tries_throttled_calls_and_server_faults_three_times() -> None:
    for code, times in (("RequestLimitExceeded", 2), ("InternalError", 2)):
        place = Place()
        place.service.behaviour.fail("DescribeSubnets", code, times=times)
        assert place.run(place.api("DescribeSubnets"))["Subnets"]
        assert [item["result"] for item in place.calls()] == [code, code, "OK"]
        assert START_S < place.clock.now_s() <= START_S + 3


def test_the_fourth_time_it_gives_up_and_client_faults_at_once() -> None:
    place = Place()
    place.service.behaviour.fail("DescribeSubnets", "RequestLimitExceeded")
    place.service.behaviour.fail("DescribeVpcs", "InvalidParameterValue")
    for action, tries in (("DescribeSubnets", 3), ("DescribeVpcs", 1)):
        with pytest.raises(Ec2Error):
            place.run(place.api(action))
        assert sum(item["action"] == action for item in place.calls()) == tries


def test_tokens_left_stand_in_the_ledger_while_throttling_is_on() -> None:
    place = Place(Ec2Spec("aws"))
    place.run(place.api("DescribeSubnets"))
    place.service.behaviour.set_throttling("off")
    place.run(place.api("DescribeSubnets"))
    assert [item.get("tokens") for item in place.calls()] == [99, None]


def test_a_throttled_client_gets_through_in_the_end() -> None:
    """Sixty attachments' worth of calls at once: the bucket holds fifty, the SDK's second and third tries find new tokens."""
    place = Place(Ec2Spec("aws"))

    async def main() -> list[Any]:
        asked = (place.api("CreateVpc", CidrBlock="10.10.0.0/16", DryRun=True) for _ in range(53))
        return await asyncio.gather(*asked, return_exceptions=True)

    results = [item.code for item in place.run(main())]
    assert results == ["DryRunOperation"] * 53
    assert any(item["result"] == "RequestLimitExceeded" for item in place.calls())


# ---- metadata -------------------------------------------------------------------------------------------------------------


def secondaries(place: Place) -> int:
    imds = InProcessImds(place.service, place.instance)
    mac = asyncio.run(imds.get("meta-data/mac"))
    return len(asyncio.run(imds.get(f"meta-data/network/interfaces/macs/{mac}/local-ipv4s")).split()) - 1


def later(place: Place, seconds: float) -> None:
    place.run(place.clock.sleep(seconds))


def test_metadata_shows_an_address_so_long_after_it_came_and_after_it_went() -> None:
    place = Place(Ec2Spec(imds_delay_s=2))
    later(place, 10)
    for count, call in ((1, "AssignPrivateIpAddresses"), (0, "UnassignPrivateIpAddresses")):
        place.lab(call, NetworkInterfaceId=place.eni, PrivateIpAddresses=["10.10.0.99"])
        assert secondaries(place) == 1 - count
        later(place, 1.9)
        assert secondaries(place) == 1 - count
        later(place, 0.1)
        assert secondaries(place) == count


def test_an_instance_knows_at_once_what_it_was_launched_with_and_no_more() -> None:
    place = Place(Ec2Spec(imds_delay_s=2))
    place.lab("AssignPrivateIpAddresses", NetworkInterfaceId=place.eni, SecondaryPrivateIpAddressCount=3)
    assert secondaries(place) == 0
    later(place, 2)
    assert secondaries(place) == 3


def test_an_eni_that_was_detached_is_listed_until_the_delay_is_over() -> None:
    place = Place(Ec2Spec(imds_delay_s=2))
    second = place.lab("CreateNetworkInterface", SubnetId=place.subnet)["NetworkInterface"]["NetworkInterfaceId"]
    attachment = place.lab("AttachNetworkInterface", NetworkInterfaceId=second, InstanceId=place.instance, DeviceIndex=1)["AttachmentId"]
    later(place, 5)
    imds = InProcessImds(place.service, place.instance)

    def macs() -> int:
        return len(asyncio.run(imds.get("meta-data/network/interfaces/macs")).split())

    place.lab("DetachNetworkInterface", AttachmentId=attachment)
    assert macs() == 2
    later(place, 2)
    assert macs() == 1


def test_a_delay_that_was_off_for_a_while_shows_nothing_from_before_that() -> None:
    place = Place(Ec2Spec(imds_delay_s=2))
    later(place, 10)
    for delay_s in (0.0, 2.0):
        place.service.behaviour.configure(Ec2Spec(imds_delay_s=delay_s))
        place.lab("AssignPrivateIpAddresses", NetworkInterfaceId=place.eni, SecondaryPrivateIpAddressCount=1)
    assert secondaries(place) == 1
    later(place, 2)
    assert secondaries(place) == 2


def test_a_terminated_instance_is_gone_at_once() -> None:
    place = Place(Ec2Spec(imds_delay_s=60))
    later(place, 100)
    place.lab("TerminateInstances", InstanceIds=[place.instance])
    assert place.service.metadata_state(place.instance) is place.service.state


def test_the_history_stays_short() -> None:
    state, past = CloudState(lab="t"), CloudState(lab="u")
    history: moments.Moments = ((float("-inf"), past),)
    for now_s in range(1000):
        history = moments.remember(history, float(now_s), state, 3.0)
    assert [item[0] for item in history] == [996.0, 997.0, 998.0, 999.0]


# ---- the ledger's words ---------------------------------------------------------------------------------------------------


def record(caller: str, action: str, result: str, latency: float = 0.0) -> dict[str, Any]:
    return {"caller": caller, "action": action, "result": result, "latency": latency}


ROWS = [
    record("labnet", "CreateVpc", "OK"), record("node1", "CreateTags", "OK", 1.0), record("node1", "CreateTags", "X", 2.0),
    record("AKIA", "DeleteTags", "X"),
]


def test_records_are_chosen_by_action_caller_and_refusal() -> None:
    assert ledger.choose(ROWS, action="*Tags") == ROWS[1:]
    assert ledger.choose(ROWS, caller="node1", errors=True) == [ROWS[2]]
    assert [ledger.told(item, {"node1"})["callerKind"] for item in ROWS] == ["lab", "node", "node", "external"]


def test_sums_by_action_and_by_caller() -> None:
    assert ledger.sums(ROWS, "action")[0] == {
        "action": "CreateTags", "calls": 2, "errors": 1, "codes": {"X": 1}, "meanLatency": 1.5, "maxLatency": 2.0,
    }
    assert [(row["caller"], row["calls"]) for row in ledger.sums(ROWS, "node")] == [("node1", 2), ("labnet", 1), ("AKIA", 1)]
