"""The real program against a real server: same bytes as in process, and what it does without the lab."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
from cni_builders import NODE, POD_B, Node, call_of

from labnet.cni import skel
from labnet.cni.registry import Registry
from labnet.cni.results import MemoryResults
from labnet.cni.runtime import Attachment, Exec, InProcess, Runtime
from labnet.cni.skel import Outcome
from labnet.cni.spec import NetnsGrant
from labnet.cni.vpc import executable
from labnet.cni.vpc.conflist import vpc_conflist
from labnet.cni.vpc.framing import HEAD_BYTES, parse_head, render_reply, render_request
from labnet.cni.vpc.server import CniServer
from labnet.errors import CniError, KernelError, PrerequisiteError, UsageError
from labnet.kernel.fake import FakeKernel
from labnet.sim.clock import LabClock


class Files(FakeKernel):
    """Namespaces whose descriptors are open files: one inode, one name."""

    def __init__(self):
        super().__init__()
        self.named, self.adopted, self.dropped = {}, [], []

    def adopt(self, descriptor):
        inode = os.fstat(descriptor).st_ino
        if inode in self.named:
            return self.named[inode]
        if not os.readlink(f"/proc/self/fd/{descriptor}").endswith("foreign"):
            raise KernelError("adopt", "", "descriptor", 22)
        self.named[inode] = f"net:[{inode}]"
        self.create_netns([self.named[inode]])
        self.adopted.append(self.named[inode])
        return self.named[inode]

    def remove_netns(self, names):
        names = list(names)
        self.dropped += names
        self.named = {inode: name for inode, name in self.named.items() if name not in names}
        super().remove_netns(names)


@contextmanager
def served(where, node, **more):
    """The node's server on a loop of its own thread; `where` is its socket, or the folder of its usual place."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    path = where if where.name.endswith(".sock") else where / "nodes" / "node1" / "cni.sock"
    server = CniServer(path, node.plugin, node.kernel, NODE, **more)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield path
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(params=["perl", "python"])
def program(tmp_path, request):
    if request.param == "perl" and executable.language() != "perl":
        pytest.skip("no Perl here, or a machine whose system calls labnet does not know")
    executable.install(tmp_path / "bin" / "aws-cni", str(tmp_path / "nodes" / "node1" / "cni.sock"), sys.executable, request.param)
    return tmp_path / "bin" / "aws-cni"


def start(program, environ, stdin=b"", pass_fds=()):
    done = subprocess.run([program], env=environ, input=stdin, capture_output=True, timeout=30, pass_fds=pass_fds, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def node(tmp_path):
    node = Node(kernel=Files())
    node.kernel.create_netns(["lab-pod-b"])
    (tmp_path / "netns").write_text("")
    node.kernel.named[(tmp_path / "netns").stat().st_ino] = "lab-pod-b"
    return node


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_program_and_in_process_give_the_same_bytes_and_the_same_state(tmp_path, program, node, version):
    path = str(tmp_path / "netns")
    twin = Node()
    twin.kernel.create_netns(["lab-pod-b"])
    previous = None
    with served(tmp_path, node):
        for verb in ("ADD", "CHECK", "DEL", "DEL"):
            environ, stdin = call_of(verb, version=version, path=path, previous=previous)
            theirs = start(program, environ, stdin)
            ours = twin.call(verb, version=version, path=path, previous=previous)
            assert theirs == (ours.exit_code, ours.stdout, ours.stderr)
            assert (node.texts(), node.texts("lab-pod-b")) == (twin.texts(), twin.texts("lab-pod-b"))
            if verb == "ADD" and version >= "0.4.0":
                previous = json.loads(theirs[1])
            assert theirs[0] == (1 if verb == "CHECK" and version == "0.3.1" else 0)


def test_errors_about_text_and_version_are_the_same_too(tmp_path, program, node):
    with served(tmp_path, node):
        for changed in ({"CNI_PATH": ""}, {"CNI_COMMAND": ""}, {"CNI_COMMAND": "VERSION"}, {"CNI_COMMAND": "FROB"}, {"CNI_CONTAINERID": "-"}):
            environ, stdin = call_of("ADD", path=str(tmp_path / "netns"))
            theirs = start(program, environ | changed, stdin)
            ours = asyncio.run(skel.run(environ | changed, stdin, node.plugin, netns=None))
            assert theirs == (ours.exit_code, ours.stdout, ours.stderr)


def test_the_descriptor_that_labnet_passes_counts_before_the_path(tmp_path, program, node):
    environ, stdin = call_of("ADD", path=str(tmp_path / "not-there"))
    with served(tmp_path, node), open(tmp_path / "netns") as netns:
        assert start(program, environ | {"LABNET_NETNS_FD": str(netns.fileno())}, stdin, (netns.fileno(),))[0] == 0
    assert "inet 10.10.2.6/32 scope global eth0" in node.texts("lab-pod-b")


def test_a_namespace_that_is_not_there_or_none(tmp_path, program, node):
    with served(tmp_path, node):
        for path in (tmp_path / "not-there", "/dev/null"):
            code, stdout, _stderr = start(program, *call_of("ADD", path=str(path)))
            assert code == 1
            assert json.loads(stdout)["msg"] == f'add command: failed to setup network: failed to open netns "{path}"'
            node.ipamd.free.append(POD_B)


def test_a_large_configuration_arrives_whole(tmp_path, program, node):
    environ, stdin = call_of("ADD", path=str(tmp_path / "netns"), padding="x" * 1_000_000)
    with served(tmp_path, node):
        assert start(program, environ, stdin)[0] == 0


def test_a_runtime_that_executes_always_leaves_the_same_as_one_in_process(tmp_path, program, node):
    path, args = str(tmp_path / "netns"), call_of("ADD")[0]["CNI_ARGS"]
    pod = Attachment("cafe", path, args=args, netns=NetnsGrant("lab-pod-b"))
    twin = Node()
    twin.kernel.create_netns(["lab-pod-b"])

    async def spawn(argv, environ, stdin, descriptors):
        assert argv == ("/opt/cni/bin/aws-cni",)
        return await asyncio.to_thread(start, program, environ, stdin, descriptors)

    conflist = vpc_conflist("1.23", {})
    by_program = Runtime(conflist, MemoryResults(), exec_=Exec(spawn, LabClock(0.0)), always_exec=True)
    in_process = Runtime(conflist, MemoryResults(), in_process=InProcess(Registry({"aws-cni": twin.plugin})))
    with served(tmp_path, node):
        for verb in ("add", "delete"):
            assert asyncio.run(getattr(by_program, verb)(pod)) == asyncio.run(getattr(in_process, verb)(pod))
            assert (node.texts(), node.texts("lab-pod-b")) == (twin.texts(), twin.texts("lab-pod-b"))
        node.ipamd.free.clear()
        said = 'plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container'
        for runtime in (by_program, in_process):
            with pytest.raises(CniError) as caught:
                asyncio.run(runtime.add(pod))
            assert str(caught.value) == said


DOWN = (
    'add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error: desc = "transport: '
    'Error while dialing: dial unix /var/run/aws-node/ipamd.sock: connect: no such file or directory"'
)


@pytest.mark.parametrize("version", ["0.4.0", "1.1.0", ""])
def test_without_the_lab_add_fails_in_the_published_words(program, version):
    code, stdout, stderr = start(program, *call_of("ADD", version=version))
    document = json.loads(stdout)
    assert (code, stderr, document.pop("cniVersion", "")) == (1, "", version)
    assert document == {"code": 999, "msg": DOWN}
    assert stdout.startswith(b'{\n    "')


def test_without_the_lab_del_succeeds_saying_that_it_did_nothing_and_the_rest_says_what_it_can(program):
    told = "labnet: the lab does not run; nothing was torn down\n"
    assert start(program, *call_of("DEL")) == (0, b"", told)
    assert start(program, *call_of("GC", version="1.1.0")) == (0, b"", told)
    code, stdout, _stderr = start(program, *call_of("STATUS", version="1.1.0"))
    assert (code, json.loads(stdout)) == (1, {
        "cniVersion": "1.1.0", "code": 50,
        "msg": "plugin not available: dial unix /var/run/aws-node/ipamd.sock: connect: no such file or directory",
    })
    code, stdout, _stderr = start(program, *call_of("CHECK"))
    assert (code, json.loads(stdout)["code"]) == (1, 999)
    assert json.loads(start(program, {"CNI_COMMAND": "VERSION"})[1])["cniVersion"] == "1.1.0"
    assert start(program, {})[2].startswith("AWS CNI")


def test_a_socket_on_which_nobody_listens(tmp_path, program):
    (tmp_path / "nodes" / "node1").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "nodes" / "node1" / "cni.sock"))
    assert json.loads(start(program, *call_of("ADD"))[1])["msg"].endswith('connect: connection refused"')


def test_a_lab_that_ends_in_the_middle_of_a_call(tmp_path, program):
    """Cut off after the request, and after half an answer: an ADD fails, a DEL does not."""
    (tmp_path / "nodes" / "node1").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "nodes" / "node1" / "cni.sock"))
        listening.listen()
        listening.settimeout(30)
        for verb, half, status in (("ADD", b"", 1), ("ADD", b"\0" * 11, 1), ("ADD", render_reply(Outcome(0, b"{}"))[:-1], 1), ("DEL", b"", 0)):
            environ, stdin = call_of(verb)
            with subprocess.Popen([program], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as caller:
                caller.stdin.write(stdin)
                caller.stdin.close()
                connection, _peer = listening.accept()
                with connection:
                    head = parse_head(connection.recv(HEAD_BYTES, socket.MSG_WAITALL))
                    connection.recv(head.environment + head.stdin, socket.MSG_WAITALL)
                    connection.sendall(half)
                stdout, stderr = caller.stdout.read(), caller.stderr.read()
            assert caller.returncode == status
            if verb == "ADD":
                assert json.loads(stdout)["msg"].endswith('connect: connection reset by peer"')
            else:
                assert (stdout, stderr) == (b"", b"labnet: the lab does not run; nothing was torn down\n")


def test_the_program_starts_a_bare_interpreter_and_loads_no_module(program):
    lines = program.read_text().splitlines()
    loads = [line for line in lines if line.split()[:1] in (["import"], ["from"], ["use"], ["require"])]
    if lines[0] == "#!/usr/bin/perl":
        assert loads == []
    else:
        assert lines[0] == f"#!{os.path.realpath(sys.executable)} -IS"
        assert loads == ["import _socket", "import posix"]
    assert program.stat().st_mode & 0o777 == 0o755


def test_perl_where_it_is_there_and_the_machine_is_known():
    assert executable.language("x86_64", "/bin/sh") == executable.language("aarch64", "/bin/sh") == "perl"
    assert executable.language("x86_64", "/not/there") == "python"
    assert executable.language("i686", "/bin/sh") == "python"


@pytest.mark.parametrize("quote", ["'", "\\", '"', "\u00e9", "\udcff"])
def test_a_socket_path_of_any_characters(tmp_path, node, quote):
    """What the lab's name or the run directory brings along stays a text in both languages."""
    path = tmp_path / f"a{quote}b" / "cni.sock"
    for language in {"python", executable.language()}:
        executable.install(tmp_path / language, str(path), sys.executable, language)
        with served(path, node):
            assert start(tmp_path / language, *call_of("ADD", path=str(tmp_path / "netns")))[0] == 0


def test_the_server_survives_junk_and_half_messages_and_closes_what_came(tmp_path, program, node):
    with served(tmp_path, node, read_s=0.05) as path:
        before = len(os.listdir("/proc/self/fd"))
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"LCN1\xff\xff\xff\xff\xff\xff\xff\xff", b"LCN1\0\0\0\3\0\0\0\0abc", b"LC", b""):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
                if junk:
                    socket.send_fds(caller, [junk], [0, 0])
                caller.settimeout(10)
                with suppress(ConnectionResetError):  # cut off with bytes unread
                    assert caller.recv(1) == b""
        assert len(os.listdir("/proc/self/fd")) == before
        whole = render_request(*call_of("ADD", path=str(tmp_path / "netns")))
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            caller.sendall(whole[:-1])
        assert start(program, *call_of("ADD", path=str(tmp_path / "netns")))[0] == 0
    assert not path.exists()


def test_a_foreign_namespace_is_held_from_add_to_del(tmp_path, program, node):
    foreign = tmp_path / "foreign"
    foreign.write_text("")
    with served(tmp_path, node):
        assert start(program, *call_of("ADD", path=str(foreign)))[0] == 0
        (name,) = node.kernel.adopted
        assert node.kernel.exists(name)
        assert start(program, *call_of("DEL", path=""))[0] == 0
        assert start(program, *call_of("DEL", container="beef", path=str(foreign)))[0] == 0
    assert not node.kernel.exists(name)
    assert set(node.kernel.dropped) == {name}


def test_the_nodes_own_namespace_is_refused(tmp_path, program, node):
    (tmp_path / "own").write_text("")
    node.kernel.named[(tmp_path / "own").stat().st_ino] = NODE
    with served(tmp_path, node):
        assert json.loads(start(program, *call_of("ADD", path=str(tmp_path / "own")))[1])["code"] == 8
    assert node.ipamd.calls == []


def test_the_socket_is_for_its_owner_alone_and_replaces_a_stale_one(tmp_path, node):
    path = tmp_path / "nodes" / "node1" / "cni.sock"
    path.parent.mkdir(parents=True)
    path.write_text("")
    with served(tmp_path, node):
        assert path.stat().st_mode & 0o777 == 0o600


def test_paths_that_do_not_fit_are_refused(tmp_path, node):
    for language in {"python", executable.language()}:
        with pytest.raises(UsageError):
            executable.source("/" + "x" * 107, sys.executable, language)
        assert executable.source("/" + "x" * 106, sys.executable, language)
    with pytest.raises(PrerequisiteError):
        executable.source("/run/x", "/with a/space", "python")
    server = CniServer(tmp_path / ("x" * 107), node.plugin, node.kernel, NODE)
    with pytest.raises(UsageError):
        asyncio.run(server.start())


