#!/usr/bin/python3
"""Drives RPC servers with impacket's client, as Outlook and Exchange servers do.

    rpcclient.py SERVER SERVICE [--map | --port N] [--auth anonymous|ntlm|kerberos] [--level 2|5|6]
                 [--user U] [--spn CLASS/HOST] [--calls N] [--hold FILE]

--map asks the endpoint mapper for the port, --port goes there without asking. With --hold the session
calls once, creates FILE.ready, waits for FILE, and calls on: a session older than the recording.
Kerberos takes its ticket from the credential cache that KRB5CCNAME names.
"""
import argparse
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from impacket.dcerpc.v5 import transport, epm, nspi, oxabref, nrpc, drsuapi, samr, lsad, lsat  # noqa: E402
from impacket.dcerpc.v5.dtypes import NULL  # noqa: E402
from impacket.dcerpc.v5 import rpcrt  # noqa: E402
from impacket.dcerpc.v5.rpcrt import RPC_C_AUTHN_WINNT  # noqa: E402
from impacket.uuid import uuidtup_to_bin  # noqa: E402
import ntlmserver  # noqa: E402
import rpcserver  # noqa: E402

DC_SERVICES = {
    "netlogon": ("12345678-1234-abcd-ef00-01234567cffb", 1, 0),
    "drsuapi": ("e3514235-4b06-11d1-ab04-00c04fc2dcd2", 4, 0),
    "samr": ("12345778-1234-abcd-ef00-0123456789ac", 1, 0),
    "lsarpc": ("12345778-1234-abcd-ef00-0123456789ab", 0, 0),
}


def interface(service):
    u, major, minor = {**rpcserver.SERVICES, **DC_SERVICES}[service]
    return uuidtup_to_bin((u, "%d.%d" % (major, minor)))


def mapper(server, service, towers=4):
    """ept_map with room for several towers; returns the TCP port of the first TCP tower."""
    dce = transport.DCERPCTransportFactory("ncacn_ip_tcp:%s[135]" % server).get_dce_rpc()
    dce.connect()
    dce.bind(epm.MSRPC_UUID_PORTMAP)
    u, major, minor = {**rpcserver.SERVICES, **DC_SERVICES}[service]
    rpcserver.SERVICES.setdefault(service, (u, major, minor))
    t = rpcserver.tower(service, "tcp", 0, "0.0.0.0")
    request = epm.ept_map()
    request["max_towers"] = towers
    request["map_tower"]["tower_length"] = len(t)
    request["map_tower"]["tower_octet_string"] = t
    request.fields["obj"].fields["ReferentID"] = 1
    request.fields["map_tower"].fields["ReferentID"] = 2
    answer = dce.request(request)
    port = None
    for i in range(answer["num_towers"]):
        floor = rpcserver.floors(b"".join(answer["ITowers"][i]["Data"]["tower_octet_string"]))[3]
        if floor[0] == b"\x07" and port is None:
            port, = struct.unpack(">H", floor[1])
    dce.disconnect()
    if port is None:
        sys.exit("%s is not registered at %s" % (service, server))
    return port


class KerberosDCE(rpcrt.DCERPC_v5):
    """impacket's client with Kerberos inside SPNEGO by MIT's GSS-API, DCE style: three legs, bind and alter_context.

    impacket 0.10 has Kerberos of its own, but Samba's KDC refuses its TGS-REQ (inappropriate checksum type).
    """

    def __init__(self, rpctransport, spn, level):
        super().__init__(rpctransport)
        import gssapi
        self.g, self.level, self.seq = gssapi, level, 1
        flags = gssapi.RequirementFlag
        wanted = flags.mutual_authentication | flags.dce_style | flags.replay_detection | flags.out_of_sequence_detection \
            | flags.integrity | (flags.confidentiality if level == 6 else 0)
        self.ctx = gssapi.SecurityContext(
            name=gssapi.Name(spn.replace("/", "@", 1), gssapi.NameType.hostbased_service),
            mech=gssapi.OID.from_int_seq("1.3.6.1.5.5.2"), flags=wanted, usage="initiate")

    def pdu(self, ptype, body, token):
        pad = -len(body) % 16 if ptype == rpcserver.REQUEST else -len(body) % 4
        trailer = struct.pack("<BBBBL", 9, self.level, pad, 0, 79231)
        return struct.pack("<BBBBLHHL", 5, 0, ptype, 3, 0x10, 16 + len(body) + pad + 8 + len(token), len(token), self.seq) \
            + body + b"\x00" * pad + trailer + token

    def exchange(self, packet):
        self._transport.send(packet)
        return self.read()

    def read(self):
        sock = self._transport.get_socket()
        out = b""
        while len(out) < 16 or len(out) < struct.unpack_from("<H", out, 8)[0]:
            want = 16 if len(out) < 16 else struct.unpack_from("<H", out, 8)[0]
            part = sock.recv(want - len(out))
            if not part:
                raise EOFError("the server closed the connection")
            out += part
        return out

    def bind(self, iface, **_):
        # Two contexts with the same abstract syntax, as Windows offers them: NDR, and bind-time feature negotiation.
        features = rpcserver.uuid.UUID("6cb71c2c-9812-4540-0300-000000000000").bytes_le + struct.pack("<L", 1)
        body = struct.pack("<HHLL", 5840, 5840, 0, 2)
        body += struct.pack("<HH", 0, 1) + iface + rpcserver.NDR + struct.pack("<HH", 1, 1) + iface + features
        answer = self.exchange(self.pdu(rpcserver.BIND, body, self.ctx.step()))
        alter = struct.pack("<HHLL", 5840, 5840, 0, 1) + struct.pack("<HH", 0, 1) + iface + rpcserver.NDR
        while True:
            if answer[2] not in (rpcserver.BIND_ACK, rpcserver.ALTER_RESP):
                raise rpcrt.DCERPCException("bind refused, PDU type %d" % answer[2])
            n, = struct.unpack_from("<H", answer, 10)
            token = self.ctx.step(answer[-n:] if n else None)
            if not token:
                break
            self.seq += 1
            answer = self.exchange(self.pdu(rpcserver.ALTER, alter, token))
            if self.ctx.complete:
                break
        self.seq += 1

    def call(self, opnum, body, uuid=None):
        stub = body if isinstance(body, bytes) else body.getData()
        hint, pad = len(stub), -len(stub) % 16
        stub += b"\x00" * pad
        t = self.g.raw.IOVBufferType
        if self.level == 6:
            iov = self.g.raw.IOV((t.header, True, None), (t.data, False, stub), std_layout=False)
            self.g.raw.wrap_iov(self.ctx, iov, confidential=True)
            stub, token = iov[1].value, iov[0].value
        else:
            token = self.ctx.get_signature(stub)
        head = struct.pack("<LHH", hint, 0, opnum)
        size = 24 + len(stub) + 8 + len(token)
        self._transport.send(struct.pack("<BBBBLHHL", 5, 0, rpcserver.REQUEST, 3, 0x10, size, len(token), self.seq) + head + stub
                             + struct.pack("<BBBBL", 9, self.level, pad, 0, 79231) + token)
        self.seq += 1

    def recv(self):
        out = b""
        while True:
            p = self.read()
            n, = struct.unpack_from("<H", p, 10)
            stub = p[24:len(p) - (n + 8 if n else 0)]
            if n and self.level == 6:
                t = self.g.raw.IOVBufferType
                iov = self.g.raw.IOV((t.header, False, p[-n:]), (t.data, False, stub), std_layout=False)
                self.g.raw.unwrap_iov(self.ctx, iov)
                stub = iov[1].value
            if n and p[len(p) - n - 6]:
                stub = stub[:-p[len(p) - n - 6]]
            if p[2] == rpcserver.FAULT:
                raise rpcrt.DCERPCException("fault 0x%08x" % struct.unpack_from("<L", stub, 0))
            out += stub
            if p[3] & 2:
                return out


def call(dce, service, n):
    if service == "emsmdb":
        handle = emsmdb_connect(dce)
        for _ in range(n):
            rop = struct.pack("<HHHH", 0, 4, 48, 48) + os.urandom(48)
            stub = handle + struct.pack("<LL", 0, len(rop)) + rop + struct.pack("<LLLLL", len(rop), 0x8007, 0, 0, 0x1008)
            dce.call(11, stub)
            dce.recv()
        return handle
    if service == "nspi":
        answer = nspi.hNspiBind(dce)
        stat = nspi.STAT()
        for f in ("SortType", "ContainerID", "CurrentRec", "Delta", "NumPos", "TotalRecs"):
            stat[f] = 0
        stat["CodePage"], stat["TemplateLocale"], stat["SortLocale"] = 1252, 0x409, 0x409
        for _ in range(n):
            nspi.hNspiUpdateStat(dce, answer["contextHandle"], stat)
        nspi.hNspiUnbind(dce, answer["contextHandle"])
    elif service == "rfr":
        dn = b"/o=Corp/ou=Exchange Administrative Group/cn=Configuration/cn=Servers/cn=MB1\x00"
        text = struct.pack("<LLL", len(dn), 0, len(dn)) + dn + b"\x00" * (-len(dn) % 4)
        dce.call(0, struct.pack("<L", 0) + text + struct.pack("<LLLL", 0, 0x20000, 0x20004, 1) + struct.pack("<LL", 0, 1) + b"\x00" * 4)
        dce.recv()
        dce.call(1, struct.pack("<LL", 0, len(dn)) + text)
        dce.recv()
    elif service == "undocumented":
        for i in range(n):
            dce.call(i % 3, os.urandom(40 + 8 * i))
            dce.recv()
    elif service == "netlogon":
        nrpc.hNetrServerReqChallenge(dce, NULL, "CLIENT\x00", os.urandom(8))
        nrpc.hDsrGetDcNameEx(dce, NULL, NULL, NULL, NULL, 0)
    elif service == "drsuapi":
        request = drsuapi.DRSBind()
        request["puuidClientDsa"] = drsuapi.NTDSAPI_CLIENT_GUID
        ext = drsuapi.DRS_EXTENSIONS_INT()
        ext["cb"] = len(ext)
        ext["dwFlags"] = drsuapi.DRS_EXT_GETCHGREQ_V6 | drsuapi.DRS_EXT_GETCHGREPLY_V6 | drsuapi.DRS_EXT_STRONG_ENCRYPTION
        ext["SiteObjGuid"] = ext["ConfigObjGUID"] = drsuapi.NULLGUID
        ext["Pid"] = ext["dwReplEpoch"] = ext["dwFlagsExt"] = 0
        ext["dwExtCaps"] = 0xFFFFFFFF
        request["pextClient"]["cb"] = len(ext)
        request["pextClient"]["rgb"] = list(ext.getData())
        handle = dce.request(request)["phDrs"]
        drsuapi.hDRSCrackNames(dce, handle, 0, drsuapi.DS_NAME_FORMAT.DS_NT4_ACCOUNT_NAME,
                               drsuapi.DS_NAME_FORMAT.DS_FQDN_1779_NAME, ("CORP\\alice",))
    elif service == "samr":
        handle = samr.hSamrConnect(dce)["ServerHandle"]
        samr.hSamrEnumerateDomainsInSamServer(dce, handle)
        samr.hSamrCloseHandle(dce, handle)
    elif service == "lsarpc":
        handle = lsad.hLsarOpenPolicy2(dce)["PolicyHandle"]
        lsat.hLsarLookupNames(dce, handle, ("alice",))
        lsad.hLsarClose(dce, handle)


def emsmdb_connect(dce):
    """EcDoConnectEx ([MS-OXCRPC] 3.1.4.1)."""
    dn = b"/o=Corp/ou=Exchange Administrative Group/cn=Recipients/cn=alice\x00"
    stub = struct.pack("<LLL", len(dn), 0, len(dn)) + dn + b"\x00" * (-len(dn) % 4)
    stub += struct.pack("<LLLLLLLH", 0, 0, 0, 1252, 0x409, 0x409, 0xFFFFFFFF, 1)
    stub += struct.pack("<HHH", 14, 0x8000 | 6025, 1000) + struct.pack("<L", 0)
    stub += struct.pack("<LLL", 0, 0, 0x1008)
    dce.call(10, stub)
    return dce.recv()[:20]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("server")
    a.add_argument("service")
    a.add_argument("--map", action="store_true")
    a.add_argument("--towers", type=int, default=4)
    a.add_argument("--port", type=int)
    a.add_argument("--auth", default="ntlm")
    a.add_argument("--level", type=int, default=6)
    a.add_argument("--user", default="alice")
    a.add_argument("--spn")
    a.add_argument("--calls", type=int, default=3)
    a.add_argument("--hold")
    a.add_argument("--lookup", action="store_true")
    a = a.parse_args()
    if a.lookup:
        dce = transport.DCERPCTransportFactory("ncacn_ip_tcp:%s[135]" % a.server).get_dce_rpc()
        dce.connect()
        print(len(epm.hept_lookup(None, dce=dce)), "entries")
        dce.disconnect()
        return
    port = a.port or mapper(a.server, a.service, a.towers)
    tr = transport.DCERPCTransportFactory("ncacn_ip_tcp:%s[%d]" % (a.server, port))
    password = ntlmserver.USERS[a.user]
    tr.set_credentials(a.user, password, ntlmserver.DOMAIN)
    dce = tr.get_dce_rpc()
    if a.auth == "ntlm":
        dce.set_auth_type(RPC_C_AUTHN_WINNT)
        dce.set_auth_level(a.level)
    elif a.auth == "kerberos":
        dce = KerberosDCE(tr, a.spn, a.level)
    dce.connect()
    dce.bind(interface(a.service))
    if a.hold:
        handle = call(dce, a.service, 1)
        open(a.hold + ".ready", "w").close()
        while not os.path.exists(a.hold):
            time.sleep(0.1)
        for _ in range(a.calls):
            rop = struct.pack("<HHHH", 0, 4, 48, 48) + os.urandom(48)
            dce.call(11, handle + struct.pack("<LL", 0, len(rop)) + rop + struct.pack("<LLLLL", len(rop), 0x8007, 0, 0, 0x1008))
            dce.recv()
            time.sleep(0.3)
    else:
        handle = call(dce, a.service, a.calls)
    if a.service == "emsmdb":
        dce.call(1, handle)
        dce.recv()
    dce.disconnect()
    print(a.service, "at", port, "done")


if __name__ == "__main__":
    main()
