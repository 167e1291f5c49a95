#!/usr/bin/python3
"""Stand-in for .NET's framings: message framing ([MC-NMF]) and NegotiateStream ([MS-NNS]) with real NTLM tokens.

    nmf.py serve HOST ADDRESS PORT nmf|nns         answers what it is asked
    nmf.py call ADDRESS PORT nmf|nns protect|plain [VIA]

nmf with protect upgrades to application/negotiate and goes on inside; plain does not upgrade. nns begins with the NegotiateStream
handshake at once, as the replication port of Exchange 2010 does: protect by NTLM inside SPNEGO, plain by bare NTLM and then
unframed data (sections 3.1.4.1 and 2.2.2). What is sent afterwards is invented.
"""
import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from impacket import ntlm  # noqa: E402
from impacket.spnego import SPNEGO_NegTokenInit, SPNEGO_NegTokenResp, TypesMech  # noqa: E402
from Cryptodome.Cipher import ARC4  # noqa: E402
import ntlmserver  # noqa: E402

NTLM_MECH = TypesMech["NTLMSSP - Microsoft NTLM Security Support Provider"]
DONE, ERROR, PROGRESS = 0x14, 0x15, 0x16


class Stream:
    """A socket with exact reads and, once secured, [MS-NNS] 2.2.2 data messages."""

    def __init__(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.seal, self.unseal, self.plain = sock, None, None, b""

    def raw(self, n):
        out = b""
        while len(out) < n:
            part = self.sock.recv(n - len(out))
            if not part:
                raise EOFError
            out += part
        return out

    def read(self, n):
        if not self.unseal:
            return self.raw(n)
        while len(self.plain) < n:
            size, = struct.unpack("<L", self.raw(4))
            self.plain += self.unseal(self.raw(size))
        out, self.plain = self.plain[:n], self.plain[n:]
        return out

    def write(self, data):
        if self.seal:
            data = self.seal(data)
            data = struct.pack("<L", len(data)) + data
        self.sock.sendall(data)

    def handshake(self, kind, token):
        self.sock.sendall(struct.pack(">BBBH", kind, 1, 0, len(token)) + token)

    def message(self):
        kind, _, _, size = struct.unpack(">BBBH", self.raw(5))
        return kind, self.raw(size)


def accept(s, host):
    """The server's side of the NegotiateStream handshake; raw NTLM means no protection."""
    _, token = s.message()
    at = token.find(b"NTLMSSP\x00")
    acceptor = ntlmserver.Acceptor(host)
    challenge = acceptor.challenge(token[at:])
    if at:
        resp = SPNEGO_NegTokenResp()
        resp["NegState"], resp["SupportedMech"], resp["ResponseToken"] = b"\x01", NTLM_MECH, challenge
        s.handshake(PROGRESS, resp.getData())
    else:
        s.handshake(PROGRESS, challenge)
    _, token = s.message()
    try:
        acceptor.finish(token[token.find(b"NTLMSSP\x00"):])
    except PermissionError:
        s.handshake(ERROR, struct.pack(">LL", 0, 0x8009030C))  # SEC_E_LOGON_DENIED
        raise
    if not at:
        s.handshake(DONE, b"")
        return
    resp = SPNEGO_NegTokenResp()
    resp["NegState"] = b"\x00"
    s.handshake(DONE, resp.getData())

    def seal(data):
        sealed, signature = acceptor.seal(b"", data, b"")
        return signature + sealed
    s.seal, s.unseal = seal, lambda d: acceptor.unseal(b"", d[16:], b"", d[:16])


def initiate(s, protect, user, password):
    type1 = ntlm.getNTLMSSPType1(socket.gethostname().upper(), ntlmserver.DOMAIN, signingRequired=protect)
    if protect:
        init = SPNEGO_NegTokenInit()
        init["MechTypes"], init["MechToken"] = [NTLM_MECH], type1.getData()
        s.handshake(PROGRESS, init.getData())
    else:
        s.handshake(PROGRESS, type1.getData())
    _, token = s.message()
    type3, key = ntlm.getNTLMSSPType3(type1, token[token.find(b"NTLMSSP\x00"):], user, password, ntlmserver.DOMAIN)
    if protect:
        resp = SPNEGO_NegTokenResp()
        resp["ResponseToken"] = type3.getData()
        s.handshake(PROGRESS, resp.getData())
    else:
        s.handshake(DONE, type3.getData())
    kind, token = s.message()
    if kind != DONE:
        sys.exit("refused")
    if not protect:
        return
    flags = type3["flags"]
    sign_out, sign_in = ntlm.SIGNKEY(flags, key), ntlm.SIGNKEY(flags, key, "Server")
    rc4_out, rc4_in = (ARC4.new(ntlm.SEALKEY(flags, key, m)).encrypt for m in ("Client", "Server"))
    seq = [0, 0]

    def seal(data):
        sealed, signature = ntlm.SEAL(flags, sign_out, None, data, data, seq[0], rc4_out)
        seq[0] += 1
        return signature.getData() + sealed

    def unseal(data):
        plain = rc4_in(data[16:])
        if ntlm.MAC(flags, rc4_in, sign_in, seq[1], plain).getData() != data[:16]:
            raise PermissionError("bad signature")
        seq[1] += 1
        return plain
    s.seal, s.unseal = seal, unseal


def counted(s):
    n = shift = 0
    while True:
        b = s.read(1)[0]
        n |= (b & 0x7F) << shift
        shift += 7
        if b < 0x80:
            return s.read(n)


def sized(b):
    n, out = len(b), b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n]) + b


def serve(sock, host, framing):
    s = Stream(sock)
    try:
        if framing == "nns":
            accept(s, host)
            while True:
                size, = struct.unpack("<L", s.read(4))
                s.read(size)
                s.write(struct.pack("<L", 16) + b"\x01" * 16)
        while True:
            record = s.read(1)[0]
            if record == 0:
                s.read(2)
            elif record in (1, 3):
                s.read(1)
            elif record in (2, 9):
                counted(s)
                if record == 9:
                    s.write(b"\x0a")
                    accept(s, host)
            elif record == 12:
                s.write(b"\x0b")
            elif record == 6:
                counted(s)
                s.write(b"\x06" + sized(os.urandom(180)))
            elif record == 7:
                s.write(b"\x07")
                return
    except (EOFError, OSError, PermissionError) as e:
        print(repr(e), file=sys.stderr, flush=True)
    finally:
        sock.close()


def call(address, port, framing, protect, via, user):
    s = Stream(socket.create_connection((address, port), 10))
    password = ntlmserver.USERS.get(user, "wrong")
    if framing == "nns":
        initiate(s, protect, user, password)
        for n in (120, 4000, 30000):
            s.write(struct.pack("<L", n) + os.urandom(n))
            s.read(20)
        s.sock.close()
        return
    s.write(b"\x00\x01\x00" + b"\x01\x02" + b"\x02" + sized(via.encode()) + b"\x03\x08")
    if protect:
        s.write(b"\x09" + sized(b"application/negotiate"))
        assert s.read(1) == b"\x0a"
        initiate(s, True, user, password)
    s.write(b"\x0c")
    assert s.read(1) == b"\x0b"
    for n in (150, 420):
        s.write(b"\x06" + sized(os.urandom(n)))
        assert s.read(1) == b"\x06"
        counted(s)
    s.write(b"\x07")
    s.read(1)
    s.sock.close()


if sys.argv[1] == "serve":
    host, address, port, framing = sys.argv[2:6]
    listener = socket.create_server((address, int(port)))
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve, args=(conn, host, framing), daemon=True).start()
else:
    call(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5] == "protect", sys.argv[6] if len(sys.argv) > 6 else "",
         os.environ.get("NMF_USER", "svc-mb"))
