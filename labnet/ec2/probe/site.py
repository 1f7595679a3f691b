"""Where one check is made: calls through boto3, what it made and takes away again, and the words that checks are written in."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from labnet.ec2.probe.check import Refusal, Wrong
from labnet.ec2.probe.undo import Undo, in_order, is_gone, undo_of

CONNECT_S, READ_S = 5, 30
PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
CLIENT_FAULT = 400
STATUS = {"AuthFailure": 401, "UnauthorizedOperation": 403, "DryRunOperation": 412, "RequestLimitExceeded": 503}
"""HTTP status of the codes that have one of their own. Source: docs/sources.md#conformance-probe"""
Text = str | re.Pattern[str] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is probed: credentials and, without a region, the region come from where boto3 takes them.

    A check ends after `limit_s`, and waits `patience_s` for a state that takes time on EC2. `denied` names an action that these
    credentials may not do, `throttled` says that the endpoint throttles as AWS does.
    """

    url: str
    region: str
    image: str = "ami-0123456789abcdef0"
    limit_s: float = 60.0
    patience_s: float = 10.0
    denied: str = ""
    throttled: bool = False

    def credentialed(self) -> bool:
        """Does boto3 find credentials?"""
        return boto3.session.Session().get_credentials() is not None

    def client(self, secret: str | None = None, key: str | None = None) -> Any:
        """A client that tries each call once; with a secret or a key that is not the account's where one is given."""
        session = boto3.session.Session(region_name=self.region)
        once = {"total_max_attempts": 1, "mode": "standard"}
        config = Config(retries=once, connect_timeout=CONNECT_S, read_timeout=min(READ_S, self.limit_s), proxies={})
        own = session.get_credentials()
        if (secret or key) and own is not None:
            keys = {"aws_access_key_id": key or own.access_key, "aws_secret_access_key": secret or own.secret_key}
            return session.client("ec2", endpoint_url=self.url, config=config, **keys)
        return session.client("ec2", endpoint_url=self.url, config=config)


class Site:
    """The site of one check. Every call that makes something is remembered, whether the check wanted it or not."""

    def __init__(self, endpoint: Endpoint, client: Any) -> None:
        self.endpoint, self.client = endpoint, client
        self._deadline_s = time.monotonic() + endpoint.limit_s
        self._made: list[Undo] = []

    # ---- calls ----------------------------------------------------------------------------------------------------------

    def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """One call. Errors: Refusal; Wrong when no usable answer comes or the check's time is over."""
        if time.monotonic() > self._deadline_s:
            raise Wrong(f"not done after {self.endpoint.limit_s:g} s")
        return self._call(operation, params)

    def _call(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self.client, xform_name(operation))(**params)
        except ClientError as error:
            said, answered = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            raise Refusal(
                operation, str(said.get("Code", "")), str(said.get("Message", "")), int(answered.get("HTTPStatusCode", 0)),
                str(answered.get("RequestId", "")), str(answered.get("HTTPHeaders", {}).get("content-type", "")),
            ) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise Wrong(f"{operation}: no usable answer: {error}") from error
        self._made.extend(undo_of(operation, params, answer))
        return answer

    def refused(self, operation: str, codes: str, text: Text | None = None, /, **params: Any) -> Refusal:
        """The refusal that AWS gives: one of the codes, with its HTTP status, and the text where it is known. Errors: Wrong."""
        allowed = " or ".join(codes.split())
        try:
            self.call(operation, **params)
        except Refusal as refusal:
            if refusal.code not in codes.split():
                raise Wrong(f"{operation}: expected {allowed}, got {refusal.code}: {refusal.text}") from None
            if text is not None and not _reads(text, refusal.text):
                wanted = text.pattern if isinstance(text, re.Pattern) else text
                raise Wrong(f"{operation}: {refusal.code} should read {wanted!r}, not {refusal.text!r}") from None
            status = STATUS.get(refusal.code, CLIENT_FAULT)
            if refusal.status != status:
                raise Wrong(f"{operation}: {refusal.code} comes with HTTP status {status} from AWS, not {refusal.status}") from None
            return refusal
        raise Wrong(f"{operation}: expected {allowed}, and the call was carried out")

    @contextmanager
    def as_another(self, client: Any) -> Iterator[None]:
        """Calls go out by another client."""
        own, self.client = self.client, client
        try:
            yield
        finally:
            self.client = own

    @contextmanager
    def changed(self, operation: str, **words: str | None) -> Iterator[None]:
        """Calls of an operation go out with other words in the form than boto3 would send; None takes a word away."""

        def change(params: dict[str, Any], **_more: Any) -> None:
            for word, value in words.items():
                params["body"].pop(word, None)
                if value is not None:
                    params["body"][word] = value

        event = f"before-call.ec2.{operation}"
        self.client.meta.events.register(event, change)
        try:
            yield
        finally:
            self.client.meta.events.unregister(event, change)

    def until(self, seen: Callable[[], bool], what: str) -> None:
        """Wait for what takes time on EC2. Errors: Wrong when it does not come."""
        pause_s, end_s = PAUSE_S, time.monotonic() + self.endpoint.patience_s
        while not seen():
            if time.monotonic() + pause_s > end_s:
                raise Wrong(f"not {what} after {self.endpoint.patience_s:g} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    # ---- objects --------------------------------------------------------------------------------------------------------

    def zone(self, number: int = 0) -> str:
        """A zone of the region."""
        return f"{self.endpoint.region}{'abc'[number]}"

    def vpc(self, cidr: str = "10.77.0.0/16") -> str:
        """A VPC of this check's own."""
        return str(self.call("CreateVpc", CidrBlock=cidr)["Vpc"]["VpcId"])

    def subnet(self, cidr: str = "10.77.1.0/24", vpc: str = "", zone: int = 0) -> str:
        """A subnet, in a VPC of its own where none is named."""
        vpc = vpc or self.vpc()
        return str(self.call("CreateSubnet", VpcId=vpc, CidrBlock=cidr, AvailabilityZone=self.zone(zone))["Subnet"]["SubnetId"])

    def eni(self, subnet: str, **more: Any) -> str:
        """An ENI that is ready."""
        made = str(self.call("CreateNetworkInterface", SubnetId=subnet, **more)["NetworkInterface"]["NetworkInterfaceId"])
        self.until(lambda: self.see_eni(made)["Status"] == "available", f"available: {made}")
        return made

    def see_eni(self, eni: str) -> dict[str, Any]:
        """What DescribeNetworkInterfaces says of one."""
        found: dict[str, Any] = self.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
        return found

    def addresses(self, eni: str) -> list[str]:
        """The private addresses of an ENI, as described."""
        return [str(item["PrivateIpAddress"]) for item in self.see_eni(eni)["PrivateIpAddresses"]]

    def prefixes(self, eni: str) -> list[str]:
        """The prefixes of an ENI, as described."""
        return [str(item["Ipv4Prefix"]) for item in self.see_eni(eni).get("Ipv4Prefixes", [])]

    def instance(self, subnet: str = "", kind: str = "t3.small", **more: Any) -> str:
        """An instance that runs."""
        where = {"SubnetId": subnet} if subnet else {}
        params = {"ImageId": self.endpoint.image, "InstanceType": kind, "MinCount": 1, "MaxCount": 1, **where, **more}
        made = str(self.call("RunInstances", **params)["Instances"][0]["InstanceId"])
        self.until(lambda: self.see_instance(made)["State"]["Name"] == "running", f"running: {made}")
        return made

    def see_instance(self, instance: str) -> dict[str, Any]:
        """What DescribeInstances says of one."""
        found: dict[str, Any] = self.call("DescribeInstances", InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return found

    def primary(self, instance: str) -> dict[str, Any]:
        """The ENI at device index 0."""
        enis = self.see_instance(instance)["NetworkInterfaces"]
        return dict(next(item for item in enis if item["Attachment"]["DeviceIndex"] == 0))

    def attach(self, eni: str, instance: str, index: int = 1, **more: Any) -> str:
        """Attach, and wait until it is."""
        params = {"NetworkInterfaceId": eni, "InstanceId": instance, "DeviceIndex": index, **more}
        made = str(self.call("AttachNetworkInterface", **params)["AttachmentId"])
        self.until(lambda: self.see_eni(eni)["Attachment"]["Status"] == "attached", f"attached: {eni}")
        return made

    def terminate(self, instance: str) -> None:
        """Terminate, and wait until it is."""
        self.call("TerminateInstances", InstanceIds=[instance])
        self.until(lambda: self.see_instance(instance)["State"]["Name"] == "terminated", f"terminated: {instance}")

    def group(self, vpc: str, name: str = "probe") -> str:
        """A security group."""
        return str(self.call("CreateSecurityGroup", GroupName=name, Description="labnet probe", VpcId=vpc)["GroupId"])

    def gateway(self, vpc: str) -> str:
        """An internet gateway, attached."""
        made = str(self.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"])
        self.call("AttachInternetGateway", InternetGatewayId=made, VpcId=vpc)
        return made

    def free(self, subnet: str) -> int:
        """AvailableIpAddressCount."""
        return int(self.call("DescribeSubnets", SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"])

    # ---- afterwards -----------------------------------------------------------------------------------------------------

    def clean_up(self) -> tuple[str, ...]:
        """Take away everything that was made; twice, since groups may name one another. What is left, with the reason."""
        self._deadline_s = time.monotonic() + self.endpoint.limit_s
        left: list[str] = []
        todo = in_order(self._made)
        for _again in range(2):
            left, kept = [], []
            for undo in todo:
                try:
                    self._take_away(undo)
                except Exception as error:  # noqa: BLE001 - an answer may be anything; what it was is told, and the rest goes too
                    if not (isinstance(error, Refusal) and is_gone(error.code)):
                        kept.append(undo)
                        left.append(f"{undo.what}: {error}")
            if not kept:
                break
            todo = kept
        return tuple(left)

    def _take_away(self, undo: Undo) -> None:
        self.call(undo.operation, **undo.params)
        if undo.wait is None:
            return
        describe, parameter, state = undo.wait
        ids = next(iter(undo.params.values()))
        ids = ids if isinstance(ids, list) else [ids]

        def ended() -> bool:
            try:
                answer = self.call(describe, **{parameter: ids})
            except Refusal as error:
                if is_gone(error.code):
                    return True
                raise
            if describe == "DescribeInstances":
                return all(one["State"]["Name"] == state for item in answer["Reservations"] for one in item["Instances"])
            return all(one["State"] == state for one in answer["NatGateways"])

        self.until(ended, f"{state}: {undo.what}")


def _reads(wanted: Text, said: str) -> bool:
    if isinstance(wanted, re.Pattern):
        return wanted.fullmatch(said) is not None
    return said in wanted if isinstance(wanted, tuple) else said == wanted
