"""The text of the program that a container runtime calls, in two languages that do the same (pure).

Perl starts in a sixth of Python's time, and starting is most of what the program does; it is part of every Debian. Python
stands in where there is no Perl, or a machine whose system calls are not known here. Neither loads a module that is not
built in. Words between double underscores are filled in by `executable`. What is sent and answered: `framing`.

Without the lab's process, ADD fails in the words of the real plugin without its daemon; DEL and GC succeed, as they must
to let a pod go, and say on standard error that nothing was torn down.
"""

from __future__ import annotations

PERL = r'''#!/usr/bin/perl
# The CNI executable of one labnet node: environment, stdin and the opened CNI_NETNS go to the lab's process, its answer comes back.

my $SOCKET = __SOCKET__;
my $ABOUT = __ABOUT__;
my $VERSIONS = __VERSIONS__;
my $UNAVAILABLE = __UNAVAILABLE__;
my $NOT_TORN_DOWN = __NOT_TORN_DOWN__;

sub say_all {
    my ($to, $data) = @_;
    my $at = 0;
    while ($at < length $data) {
        $at += syswrite($to, $data, length($data) - $at, $at) || return 0;
    }
    return 1;
}

sub read_stdin {
    my $data = "";
    while (sysread(STDIN, $data, 65536, length $data)) { }
    return $data;
}

# One sendmsg(2): the head, and with it the descriptor, as struct msghdr { name, iov, control, flags } and struct cmsghdr
# { length, SOL_SOCKET, SCM_RIGHTS, descriptor } lie in memory.
sub send_head {
    my ($to, $head, $descriptor) = @_;
    my $piece = pack("P Q", $head, length $head);
    my $rights = pack("Q i i i x4", 20, 1, 1, $descriptor);
    my $message = $descriptor < 0 ? pack("Q Q P Q Q Q Q", 0, 0, $piece, 1, 0, 0, 0) : pack("Q Q P Q P Q Q", 0, 0, $piece, 1, $rights, 24, 0);
    return syscall(__SENDMSG__, fileno $to, $message, 0) == length $head;
}

# The answer: exit code, stdout, stderr; nothing, with the reason in $!, when the lab's process does not give one.
sub ask {
    my ($stdin) = @_;
    my ($netns, $lab);
    my $descriptor = $ENV{__NETNS_FD__} ? int $ENV{__NETNS_FD__} : sysopen($netns, $ENV{CNI_NETNS} // "", 0) ? fileno $netns : -1;
    my $environment = join "", map { "$_=$ENV{$_}\0" } grep { /^CNI_/ } keys %ENV;
    socket($lab, 1, 1, 0) && connect($lab, pack("S a*", 1, $SOCKET)) || return;
    send_head($lab, __MAGIC__ . pack("N N", length $environment, length $stdin), $descriptor) || return;
    say_all($lab, $environment . $stdin) || return;
    my $reply = "";
    while (sysread($lab, $reply, 65536, length $reply)) { }
    my ($code, $out, $err) = unpack("N N N", $reply);
    if (length $reply < 12 || length $reply < 12 + $out + $err) {
        $! = 104;
        return;
    }
    return ($code, substr($reply, 12, $out), substr($reply, 12 + $out, $err));
}

sub without_lab {
    my ($verb, $stdin, $reason) = @_;
    return (0, "", $NOT_TORN_DOWN) if $verb eq "DEL" || $verb eq "GC";
    my ($version) = $stdin =~ /"cniVersion"\s*:\s*"([0-9.]+)"/;
    my $number = $verb eq "STATUS" ? 50 : 999;
    my $said = "dial unix __DAEMON__: connect: " . lcfirst $reason;
    $said = $verb eq "STATUS" ? "plugin not available: $said" : lc($verb) . " cmd: $UNAVAILABLE$said\\\"";
    my $first = defined $version ? "    \"cniVersion\": \"$version\",\n" : "";
    return (1, "{\n$first    \"code\": $number,\n    \"msg\": \"$said\"\n}", "");
}

sub answer {
    my $verb = $ENV{CNI_COMMAND} // "";
    return (0, "", $ABOUT) if $verb eq "";
    return (0, $VERSIONS, "") if $verb eq "VERSION";
    my $stdin = read_stdin();
    my @answer = ask($stdin);
    return @answer ? @answer : without_lab($verb, $stdin, "$!");
}

$SIG{PIPE} = "IGNORE";
my ($code, $out, $err) = answer();
say_all(*STDOUT, $out);
say_all(*STDERR, $err);
exit $code;
'''

PYTHON = r'''#!__PYTHON__ -IS
# The CNI executable of one labnet node: environment, stdin and the opened CNI_NETNS go to the lab's process, its answer comes back.
import _socket
import posix

SOCKET = __SOCKET__
ABOUT = __ABOUT__
VERSIONS = __VERSIONS__
UNAVAILABLE = __UNAVAILABLE__
NOT_TORN_DOWN = __NOT_TORN_DOWN__


def say_all(descriptor, data):
    while data:
        data = data[posix.write(descriptor, data):]


def read_stdin():
    parts = []
    while part := posix.read(0, 65536):
        parts.append(part)
    return b"".join(parts)


def open_netns(environ):
    number = environ.get(__NETNS_FD__, b"")
    if number:
        return int(number)
    try:
        return posix.open(environ.get(b"CNI_NETNS", b""), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return -1


def receive(sock, count):
    parts = []
    while count:
        part = sock.recv(min(count, 65536))
        if not part:
            raise ConnectionResetError(104, "Connection reset by peer")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def ask(environ, stdin):
    netns = open_netns(environ)
    block = b"".join(name + b"=" + value + b"\0" for name, value in environ.items() if name.startswith(b"CNI_"))
    head = __MAGIC__ + len(block).to_bytes(4, "big") + len(stdin).to_bytes(4, "big")
    rights = [] if netns < 0 else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, __BYTEORDER__))]
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    sock.connect(SOCKET)
    if sock.sendmsg([head], rights) != len(head):
        raise OSError(105, "No buffer space available")
    sock.sendall(block + stdin)
    reply = receive(sock, 12)
    code, out, err = (int.from_bytes(reply[at:at + 4], "big") for at in (0, 4, 8))
    return code, receive(sock, out), receive(sock, err)


def version_of(stdin):
    found = stdin.partition(b'"cniVersion"')[2].lstrip(b" \t\r\n:")
    text = found[1:].partition(b'"')[0] if found.startswith(b'"') else b""
    return text if text.replace(b".", b"").isdigit() else b""


def without_lab(verb, stdin, error):
    if verb in (b"DEL", b"GC"):
        return 0, b"", NOT_TORN_DOWN
    version = version_of(stdin)
    first = b'    "cniVersion": "' + version + b'",\n' if version else b""
    reason = error.strerror.encode()
    said = b"dial unix __DAEMON__: connect: " + reason[:1].lower() + reason[1:]
    if verb == b"STATUS":
        number, said = b"50", b"plugin not available: " + said
    else:
        number, said = b"999", verb.lower() + b" cmd: " + UNAVAILABLE + said + b'\\"'
    return 1, b"{\n" + first + b'    "code": ' + number + b',\n    "msg": "' + said + b'"\n}', b""


def main():
    environ = posix.environ
    verb = environ.get(b"CNI_COMMAND", b"")
    if not verb:
        return 0, b"", ABOUT
    if verb == b"VERSION":
        return 0, VERSIONS, b""
    stdin = read_stdin()
    try:
        return ask(environ, stdin)
    except OSError as error:
        return without_lab(verb, stdin, error)


code, out, err = main()
say_all(1, out)
say_all(2, err)
posix._exit(code)
'''
