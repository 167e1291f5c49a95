#!/usr/bin/python3
"""Stand-in for the RPC services of an Exchange 2010 server: `rpcserver.py CONFIG.json`.

Serves connection-oriented DCE/RPC ([C706] 12.6, [MS-RPCE]) with NTLM and, given a
keytab, Kerberos inside SPNEGO, at levels none, connect, integrity and privacy.
The endpoint mapper on port 135 announces what CONFIG lists. EMSMDB, NSPI and RFR
answer the few calls that the recording makes, in the NDR form of [MS-OXCRPC],
[MS-OXNSPI] and [MS-OXABREF]; contents are invented. It is no Exchange server.

CONFIG: {"host": "mb1", "address": "10.20.2.11", "keytab": null, "endpoints":
  [{"service": "emsmdb", "port": 46861, "annotation": "...", "towers": ["tcp", "np", "http"], "announce": true}]}
"""
import json
import os
import socket
import struct
import sys
import threading
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ntlmserver  # noqa: E402

NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860").bytes_le + struct.pack("<L", 2)
BTFN = uuid.UUID("6cb71c2c-9812-4540-0300-000000000000").bytes_le[:8]
SERVICES = {
    "epmapper": ("e1af8308-5d1f-11c9-91a4-08002b14a0fa", 3, 0),
    "emsmdb": ("a4f1db00-ca47-1067-b31f-00dd010662da", 0, 81),
    "asyncemsmdb": ("5261574a-4572-206e-b268-6b199213b4e4", 0, 1),
    "nspi": ("f5cc5a18-4264-101a-8c59-08002b2f8426", 56, 0),
    "rfr": ("1544f5e0-613c-11d1-93df-00c04fd7bd09", 1, 0),
    # Not a Microsoft interface: made up for the recording, to be an interface nobody documents.
    "undocumented": ("5b0e7f4c-3d2a-4c1e-9d6f-0a1b2c3d4e5f", 1, 0),
}
BIND, BIND_ACK, BIND_NAK, ALTER, ALTER_RESP, AUTH3, REQUEST, RESPONSE, FAULT = 11, 12, 13, 14, 15, 16, 0, 2, 3
NOT_REGISTERED = 0x16C9A0D6


def syntax(service):
    u, major, minor = SERVICES[service]
    return uuid.UUID(u).bytes_le + struct.pack("<HH", major, minor)


def pad4(b):
    return b + b"\x00" * (-len(b) % 4)


def tower(service, kind, port, address):
    u, major, minor = SERVICES[service]
    def floor(lhs, rhs):
        return struct.pack("<H", len(lhs)) + lhs + struct.pack("<H", len(rhs)) + rhs
    floors = [floor(b"\x0d" + uuid.UUID(u).bytes_le + struct.pack("<H", major), struct.pack("<H", minor)),
              floor(b"\x0d" + NDR[:16] + struct.pack("<H", 2), struct.pack("<H", 0)),
              floor(b"\x0b", struct.pack("<H", 0))]
    if kind == "np":
        floors += [floor(b"\x0f", b"\\pipe\\%s\x00" % service.encode()), floor(b"\x11", b"\\\\HOST\x00")]
    else:
        floors += [floor(b"\x1f" if kind == "http" else b"\x07", struct.pack(">H", port)),
                   floor(b"\x09", socket.inet_aton(address))]
    return struct.pack("<H", len(floors)) + b"".join(floors)


def floors(octets):
    """The (LHS, RHS) pairs of a tower."""
    n, at, out = octets[0], 2, []
    for _ in range(n):
        pair = []
        for _ in range(2):
            size, = struct.unpack_from("<H", octets, at)
            pair.append(octets[at + 2:at + 2 + size])
            at += 2 + size
        out.append(pair)
    return out


class Epm:
    """ept_map and ept_lookup ([C706] Appendix O) over the endpoints of the configuration."""

    def __init__(self, config):
        self.entries = []
        for e in config["endpoints"]:
            if not e.get("announce", True):
                continue
            for kind in e.get("towers", ["tcp"]):
                port = e.get("http_port", 6001) if kind == "http" else e["port"]
                self.entries.append((e["service"], kind, e.get("annotation", ""),
                                     tower(e["service"], kind, port, config["address"])))

    def call(self, opnum, stub):
        return {2: self.lookup, 3: self.map}[opnum](stub)

    def map(self, stub):
        at = 4 + (16 if struct.unpack_from("<L", stub, 0)[0] else 0)
        at += 4  # tower referent
        size, _ = struct.unpack_from("<LL", stub, at)
        asked = floors(stub[at + 8:at + 8 + size])
        at += 8 + size + (-size % 4) + 20
        max_towers, = struct.unpack_from("<L", stub, at)
        found = [t for s, kind, a, t in self.entries if syntax(s)[:18] == asked[0][0][1:]]
        # A mapper lists what it has in its own order; only a caller with room for one gets just the one asked for.
        if max_towers < len(found):
            found.sort(key=lambda t: floors(t)[3][0] != asked[3][0])
        found = found[:max_towers]
        out = b"\x00" * 20 + struct.pack("<LLLL", len(found), max_towers, 0, len(found))
        out += b"".join(struct.pack("<L", 0x00020000 + 4 * i) for i in range(1, len(found) + 1))
        for t in found:
            out += struct.pack("<LL", len(t), len(t)) + pad4(t)
        return out + struct.pack("<L", 0 if found else NOT_REGISTERED)

    def lookup(self, stub):
        found = self.entries
        out = b"\x00" * 20 + struct.pack("<LLLL", len(found), len(found), 0, len(found))
        for i, (s, kind, annotation, t) in enumerate(found):
            text = annotation.encode() + b"\x00"
            out += b"\x00" * 16 + struct.pack("<LLL", 0x00020000 + 4 * (i + 1), 0, len(text)) + pad4(text)
        for s, kind, annotation, t in found:
            out += struct.pack("<LL", len(t), len(t)) + pad4(t)
        return out + struct.pack("<L", 0)


def conformant_varying(b):
    return struct.pack("<LLL", len(b), 0, len(b)) + pad4(b)


def emsmdb(host, opnum, stub):
    handle = b"\x00" * 4 + uuid.uuid5(uuid.NAMESPACE_DNS, host).bytes_le
    server_version = struct.pack("<HHH", (14 << 8) | 3, 0x8000 | 123, 3)  # 14.3.123.3, [MS-OXCRPC] 3.1.9
    if opnum == 10:  # EcDoConnectEx
        dn = b"/o=Corp/ou=Exchange Administrative Group/cn=Recipients/cn=\x00"
        name = b"Stand-in\x00"
        out = handle + struct.pack("<LLLH2x", 60000, 6, 10000, 1)
        out += struct.pack("<L", 0x00020000) + conformant_varying(dn)
        out += struct.pack("<L", 0x00020004) + conformant_varying(name)
        out += server_version + server_version
        return out + struct.pack("<L", 1) + conformant_varying(b"") + struct.pack("<LL", 0, 0)
    if opnum == 11:  # EcDoRpcExt2: an answer as long as asked for in the first two bytes of rgbIn, here 600 bytes
        rop = struct.pack("<HHHH", 0, 4, 592, 592) + bytes(b ^ 0xA5 for b in os.urandom(592))
        return handle + struct.pack("<L", 0) + conformant_varying(rop) + struct.pack("<L", len(rop)) \
            + conformant_varying(b"") + struct.pack("<LLL", 0, 1, 0)
    if opnum == 1:  # EcDoDisconnect
        return b"\x00" * 20 + struct.pack("<L", 0)
    return None


def nspi(host, opnum, stub):
    handle = b"\x00" * 4 + uuid.uuid5(uuid.NAMESPACE_URL, host).bytes_le
    if opnum == 0:  # NspiBind
        return struct.pack("<L", 0x00020000) + uuid.uuid5(uuid.NAMESPACE_OID, host).bytes_le + handle + struct.pack("<L", 0)
    if opnum == 1:  # NspiUnbind
        return b"\x00" * 20 + struct.pack("<L", 1)
    if opnum == 2:  # NspiUpdateStat
        return struct.pack("<LLLLLLLLL", 0, 0, 0x10, 0, 0, 100, 1252, 0x409, 0x409) + struct.pack("<LL", 0, 0)
    return None


def rfr(host, opnum, stub):
    fqdn = ("%s.%s" % (host, ntlmserver.DNS_DOMAIN)).encode() + b"\x00"
    if opnum == 0:  # RfrGetNewDSA
        return struct.pack("<LLL", 0, 0x00020000, 0x00020004) + conformant_varying(fqdn) + struct.pack("<L", 0)
    if opnum == 1:  # RfrGetFQDNFromServerDN
        return struct.pack("<L", 0x00020000) + conformant_varying(fqdn) + struct.pack("<L", 0)
    return None


CALLS = {"emsmdb": emsmdb, "nspi": nspi, "rfr": rfr}


class Kerberos:
    """Acceptor for SPNEGO with Kerberos, DCE style, by MIT's GSS-API."""

    def __init__(self):
        import gssapi
        self.g = gssapi
        self.ctx = gssapi.SecurityContext(creds=gssapi.Credentials(usage="accept"), usage="accept")

    def step(self, token):
        return self.ctx.step(token) or b""

    def unseal(self, before, sealed, after, token):
        t = self.g.raw.IOVBufferType
        iov = self.g.raw.IOV((t.header, False, token), (t.data, False, sealed), std_layout=False)
        self.g.raw.unwrap_iov(self.ctx, iov)
        return iov[1].value

    def seal(self, before, plain, after):
        t = self.g.raw.IOVBufferType
        iov = self.g.raw.IOV((t.header, True, None), (t.data, False, plain), std_layout=False)
        self.g.raw.wrap_iov(self.ctx, iov, confidential=True)
        return iov[1].value, iov[0].value

    def verify(self, message, token):
        pass  # impacket signs the stub alone; nothing hangs on it here

    def sign(self, stub):
        return self.ctx.get_signature(stub)


class Session(threading.Thread):
    def __init__(self, server, sock, services, port):
        super().__init__(daemon=True)
        self.server, self.sock, self.services, self.port = server, sock, services, port
        self.contexts, self.auth, self.level, self.kind, self.auth_ctx = {}, None, 0, 0, 0

    def run(self):
        try:
            while True:
                head = self.read(16)
                if not head:
                    return
                size, = struct.unpack_from("<H", head, 8)
                self.pdu(head + self.read(size - 16))
        except Exception as e:  # a session that fails ends; the others go on
            print("%s:%d: %r" % (self.server.host, self.port, e), file=sys.stderr, flush=True)
            if os.environ.get("STANDIN_DEBUG"):
                import traceback
                traceback.print_exc()
        finally:
            self.sock.close()

    def read(self, n):
        out = b""
        while len(out) < n:
            part = self.sock.recv(n - len(out))
            if not part:
                return b""
            out += part
        return out

    def send(self, ptype, call, body, token=b"", flags=3):
        size = 16 + len(body) + (8 + len(token) if token else 0)
        trailer = b""
        if token:
            pad = -len(body) % 4
            size += pad
            body += b"\x00" * pad
            trailer = struct.pack("<BBBBL", self.kind, self.level, pad, 0, self.auth_ctx) + token
        self.sock.sendall(struct.pack("<BBBBLHHL", 5, 0, ptype, flags, 0x10, size, len(token), call) + body + trailer)

    def pdu(self, p):
        ptype, size, auth_len, call = p[2], *struct.unpack_from("<HHL", p, 8)
        token, end = b"", size
        if auth_len:
            end = size - auth_len - 8
            kind, level, pad, _, ctx = struct.unpack_from("<BBBBL", p, end)
            token = p[end + 8:]
        if ptype in (BIND, ALTER):
            if token:
                self.kind, self.level, self.auth_ctx = kind, level, ctx
            self.bind(p, ptype, call, token)
        elif ptype == AUTH3:
            self.auth.finish(token)
        elif ptype == REQUEST:
            self.request(p, call, end, token, pad if auth_len else 0)

    def bind(self, p, ptype, call, token):
        xmit, recv, group, n = struct.unpack_from("<HHLB", p, 16)
        at, results, sec = 28, [], b""
        for _ in range(n):
            ctx, ntransfer = struct.unpack_from("<HB", p, at)
            abstract = p[at + 4:at + 24]
            transfers = [p[at + 24 + 20 * i:at + 44 + 20 * i] for i in range(ntransfer)]
            at += 24 + 20 * ntransfer
            service = next((s for s in self.services if syntax(s) == abstract), None)
            if transfers and transfers[0][:8] == BTFN:
                results.append(struct.pack("<HH", 3, 3) + b"\x00" * 20)
            elif service is None:
                results.append(struct.pack("<HH", 2, 1) + b"\x00" * 20)
            elif NDR not in transfers:
                results.append(struct.pack("<HH", 2, 2) + b"\x00" * 20)
            else:
                self.contexts[ctx] = service
                results.append(struct.pack("<HH", 0, 0) + NDR)
        answer = b""
        if token:
            if self.kind == 10:
                if token[8:12] == b"\x01\x00\x00\x00":
                    self.auth = ntlmserver.Acceptor(self.server.host)
                    answer = self.auth.challenge(token)
            else:
                if self.auth is None:
                    self.auth = Kerberos()
                answer = self.auth.step(token)
        port = b"" if ptype == ALTER else b"%d\x00" % self.port
        body = struct.pack("<HHLH", min(xmit, 4280), min(recv, 4280), group or 0x1A2B, len(port)) + port
        body += b"\x00" * (-len(body) % 4)
        body += struct.pack("<BBH", len(results), 0, 0) + b"".join(results)
        self.send(BIND_ACK if ptype == BIND else ALTER_RESP, call, body, answer, flags=3 | (p[3] & 4))

    def request(self, p, call, end, token, pad):
        hint, ctx, opnum = struct.unpack_from("<LHH", p, 16)
        at = 24 + (16 if p[3] & 0x80 else 0)
        stub = p[at:end]
        if token and self.level == 6:
            stub = self.auth.unseal(p[:at], stub, p[end:end + 8], token)
        elif token and self.level == 5:
            self.auth.verify(p[:end + 8], token)
        if pad:
            stub = stub[:-pad]
        service = self.contexts.get(ctx)
        if service == "epmapper":
            out = self.server.epm.call(opnum, stub)
        elif service == "undocumented":
            out = struct.pack("<L", len(stub)) + stub[::-1] + b"\x00" * (-len(stub) % 4) + struct.pack("<L", 0)
        else:
            out = CALLS[service](self.server.host, opnum, stub) if service in CALLS else None
        ptype = RESPONSE
        if out is None:
            ptype, out = FAULT, struct.pack("<LL", 0x1C010002, 0)  # nca_s_op_rng_error
        self.answer(ptype, call, ctx, out)

    def answer(self, ptype, call, ctx, stub):
        body = struct.pack("<LHBB", len(stub), ctx, 0, 0)
        if self.auth is None or self.level < 5:
            self.send(ptype, call, body + stub)
            return
        block = 16
        pad = -len(stub) % block
        stub += b"\x00" * pad
        trailer = struct.pack("<BBBBL", self.kind, self.level, pad, 0, self.auth_ctx)
        kerberos = isinstance(self.auth, Kerberos)
        # The signature covers the header, which holds the token's length: 16 for NTLM, measured first for Kerberos.
        if kerberos and self.level == 6:
            sealed, token = self.auth.seal(b"", stub, b"")
        elif kerberos:
            sealed, token = stub, self.auth.sign(stub)
        else:
            token = b"\x00" * 16
        head = struct.pack("<BBBBLHHL", 5, 0, ptype, 3, 0x10, 24 + len(stub) + 8 + len(token), len(token), call) + body
        if not kerberos and self.level == 6:
            sealed, token = self.auth.seal(head, stub, trailer)
        elif not kerberos:
            sealed, token = stub, self.auth.sign(head + stub + trailer)
        self.sock.sendall(head + sealed + trailer + token)


class Server:
    def __init__(self, config):
        self.host = config["host"]
        self.epm = Epm(config)
        ports = {}
        for e in config["endpoints"]:
            ports.setdefault(e["port"], []).append(e["service"])
        if config.get("mapper", True):
            ports.setdefault(135, []).append("epmapper")
        for port, services in ports.items():
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((config["address"], port))
            sock.listen(16)
            threading.Thread(target=self.accept, args=(sock, services, port), daemon=True).start()

    def accept(self, sock, services, port):
        while True:
            conn, _ = sock.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Session(self, conn, services, port).start()


if __name__ == "__main__":
    config = json.load(open(sys.argv[1]))
    if config.get("keytab"):
        os.environ["KRB5_KTNAME"] = config["keytab"]
    Server(config)
    print("ready", flush=True)
    threading.Event().wait()
