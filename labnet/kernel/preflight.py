"""Can this machine carry a lab? Tried, not guessed: each operation is done once, in a namespace that ends with the question.

`check_quick` stands before every `up` and says in milliseconds what is missing; `probe` is `labnet doctor`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

from labnet.errors import PrerequisiteError

CLONE_NEWNET = 0x40000000
PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
PACKAGES = {"nft": "nftables", "iptables": "iptables", "iptables-nft-restore": "iptables", "ip": "iproute2"}
STOCK_GC_THRESH3 = 1024
FILES = 4096
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}
"""What labnet cannot do without, and the bits (linux/capability.h): links and rules, captures and probes, namespaces and views."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing tried: `needed` says that labnet cannot do without; `hint` is what to do, or what takes its place."""

    name: str
    ok: bool
    detail: str = ""
    hint: str = ""
    needed: bool = True


def check_quick() -> None:
    """Refuse a machine that cannot carry a lab. Errors: PrerequisiteError naming each missing thing."""
    missing = [program for program in PACKAGES if _which(program) is None]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        hint = f"apt-get install {' '.join(packages)}"
        raise PrerequisiteError(f"programs that labnet needs are missing: {', '.join(missing)}", hint, missing=missing)
    if os.geteuid() != 0:
        raise PrerequisiteError("labnet makes network namespaces, which needs root", "run it with sudo", missing=["root"])
    hint = f"in a container: docker run --privileged (it needs {', '.join(CAPABILITIES)})"
    lacking = _lacking(Path("/proc/thread-self/status").read_text())
    if lacking:
        raise PrerequisiteError(f"this process lacks capabilities that labnet needs: {', '.join(lacking)}", hint, missing=lacking)
    error = _in_thread(_unshare)
    if error:
        raise PrerequisiteError(f"this process may not make network namespaces: {os.strerror(error)}", hint, missing=["CAP_SYS_ADMIN"])


def check_zone_links(*, loss: bool, latency: bool) -> None:
    """Refuse what is to be set between zones where this kernel cannot do it. Errors: PrerequisiteError, exit code 4."""
    wanted = {name for name, asked in ((LOSS, loss), (LATENCY, latency)) if asked}
    for finding in _trials(wanted) if wanted else ():
        if not finding.ok:
            need = finding.detail.removeprefix("for ")
            hint = f"leave {'roundTripMs' if finding.name == LATENCY else 'lossPercent'} out; 'labnet doctor' tells what this machine can do"
            raise PrerequisiteError(f"this kernel lacks {finding.name} for {need}", hint, missing=[finding.name])


def _which(program: str) -> str | None:
    return next((f"{folder}/{program}" for folder in PATH if os.access(f"{folder}/{program}", os.X_OK)), None)


def _lacking(status: str) -> list[str]:
    """The needed capabilities that are not among the effective ones of a /proc status text."""
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]


def _unshare() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.unshare(CLONE_NEWNET) == 0 else ctypes.get_errno()


def _in_thread(work: Callable[[], int]) -> int:
    """A thread of its own: what it unshares ends with it, and nobody else has moved."""
    answer: list[int] = []
    thread = threading.Thread(target=lambda: answer.append(work()))
    thread.start()
    thread.join()
    return answer[0]


# ---- doctor ---------------------------------------------------------------------------------------------------------------

LOSS, LATENCY = "drop by chance", "packet queues"
_TRIALS: tuple[tuple[str, str, str, bool], ...] = (
    ("veth", "ip link add lnta type veth peer name lntb", "every pod and ENI", True),
    (
        "netdev ingress hook", "nft 'table netdev t { chain c { type filter hook ingress device lnta priority 0; }; }'",
        "layer 2 of the VPC", True,
    ),
    (
        "netdev egress hook", "nft 'table netdev t { chain e { type filter hook egress device lnta priority 0; }; }'",
        "MACs of the VPC", True,
    ),
    (
        "sets of ranges", "nft 'table ip t { set s { type mark . inet_proto . inet_service . ipv4_addr; flags interval; }; }'",
        "security groups", True,
    ),
    (
        "connection tracking", "nft 'table ip t { chain f { type filter hook forward priority 0; ct state established accept; }; }'",
        "security groups", True,
    ),
    (
        "nat maps", "nft 'table ip t { map m { type ipv4_addr : ipv4_addr; }; "
        "chain n { type nat hook prerouting priority -100; dnat to ip daddr map @m; }; }'",
        "internet gateway", True,
    ),
    ("TTL target", "iptables-nft -t mangle -A PREROUTING -m ttl --ttl-lt 255 -j TTL --ttl-inc 1", "the VPC is no hop", True),
    ("addrtype and CONNMARK", "iptables-nft -t mangle -A PREROUTING -i eth0 -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK "
     "--set-xmark 0x80/0x80", "the VPC CNI's mangle rules", True),
    ("SNAT --random-fully", "iptables-nft -t nat -A POSTROUTING -j SNAT --to-source 192.0.2.1 --random-fully", "the VPC CNI's SNAT", True),
    ("legacy iptables", "iptables-legacy -t nat -A POSTROUTING -j SNAT --to-source 192.0.2.1", "nodes with iptables: legacy", False),
    ("bridge", "ip link add lnbr type bridge", "kubenet and bridge CNIs (later)", False),
    ("ipvlan", "ip link add iv link lnta type ipvlan", "ipvlan CNIs (later)", False),
    ("macvlan", "ip link add mv link lnta type macvlan mode bridge", "Multus (later)", False),
    ("802.1Q", "ip link add v link lnta type vlan id 5", "branch ENIs (later; a veth stands in)", False),
    (LOSS, "nft 'table ip t { chain c { numgen random mod 1000 < 5 counter drop; }; }'", "loss between zones", False),
    (
        LATENCY, "iptables-nft -t security -A FORWARD -m connmark --mark 0x5 -j NFQUEUE --queue-num 5 --queue-bypass",
        "latency between zones", False,
    ),
    ("vxlan", "ip link add vx type vxlan id 5 dstport 4789 dev lnta", "Calico VXLAN (later)", False),
)


def probe() -> tuple[Finding, ...]:
    """Everything that labnet may need, tried one by one; touches nothing of the machine."""
    found = [_programs(), _rights()]
    if all(finding.ok for finding in found):
        found += _trials()
    return (*found, *_limits())


def _programs() -> Finding:
    missing = [program for program in PACKAGES if _which(program) is None]
    hint = f"apt-get install {' '.join(sorted({PACKAGES[program] for program in missing}))}" if missing else ""
    return Finding("programs", not missing, "missing: " + ", ".join(missing) if missing else ", ".join(PACKAGES), hint)


def _rights() -> Finding:
    error = _in_thread(_unshare)
    return Finding("network namespaces", not error, os.strerror(error) if error else "may be made", "run with sudo" if error else "")


def _trials(wanted: Container[str] | None = None) -> list[Finding]:
    """Each of the trials, or only those named, in one throw-away namespace."""
    from labnet.kernel import command
    from labnet.kernel.netns import returning, unshare

    with returning():
        unshare()
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    found = []
    try:
        for name, line, needed_by, needed in _TRIALS:
            if wanted is not None and name not in wanted:
                continue
            done = command.run(fd, "a throw-away namespace", ["sh", "-c", line])
            said = done.stderr.strip().splitlines()
            detail = f"for {needed_by}" if done.exit_code == 0 else f"for {needed_by}: {said[0] if said else 'refused'}"
            hint = "" if done.exit_code == 0 else "this kernel lacks it" if needed else "what needs it will refuse"
            found.append(Finding(name, done.exit_code == 0, detail, hint, needed))
    finally:
        os.close(fd)
    return found


def _limits() -> list[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough_files = hard >= FILES
    hint = "" if enough_files else "ulimit -n 20000 for large labs"
    found = [Finding("open files", enough_files, f"{soft}, at most {hard}", hint, needed=False)]
    neighbours = _number("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
    if neighbours is not None:
        enough = neighbours > STOCK_GC_THRESH3
        hint = "" if enough else "learned neighbours of all namespaces share it: labs of some hundred pods may fill it"
        found.append(Finding("neighbour table", enough, f"gc_thresh3 {neighbours}", hint, needed=False))
    flows = _number("/proc/sys/net/netfilter/nf_conntrack_max")
    if flows is not None:
        found.append(Finding("tracked connections", True, f"nf_conntrack_max {flows}, counted per namespace", "", needed=False))
    return found


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
