#!/usr/bin/python3
"""HTTP that curl does not speak: `webclient.py pipeline|rpch|proxy ADDRESS PORT [HOST]`.

pipeline  three requests in one segment, then one cut into pieces
rpch      Outlook Anywhere: an RPC_OUT_DATA and an RPC_IN_DATA channel with CONN/A1 and CONN/B1 ([MS-RPCH] 2.2.4), TLS when PORT is 443
proxy     the RPC proxy's own connections to an ncacn_http endpoint: banner, CONN/A2, CONN/B2, then an EMSMDB bind
"""
import base64
import os
import socket
import ssl
import struct
import sys
import time
import uuid

mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
host = sys.argv[4] if len(sys.argv) > 4 else address


def connect():
    s = socket.create_connection((address, port), 10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if port == 443:
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
        ctx.maximum_version = ssl.TLSVersion.TLSv1_2
        s = ctx.wrap_socket(s, server_hostname=host)
    return s


def rts(flags, *commands):
    body = struct.pack("<HH", flags, len(commands)) + b"".join(struct.pack("<L", t) + b for t, b in commands)
    return struct.pack("<BBBBLHHL", 5, 0, 20, 3, 0x10, 16 + len(body), 0, 0) + body


VERSION, COOKIE, WINDOW = (6, struct.pack("<L", 1)), 3, (0, struct.pack("<L", 65536))
vc, out_cookie, in_cookie, group = (uuid.uuid4().bytes_le for _ in range(4))
CONN_A1 = rts(0, VERSION, (COOKIE, vc), (COOKIE, out_cookie), WINDOW)
CONN_B1 = rts(0, VERSION, (COOKIE, vc), (COOKIE, in_cookie), (4, struct.pack("<L", 1 << 30)), (5, struct.pack("<L", 120000)), (12, group))
EMSMDB = uuid.UUID("a4f1db00-ca47-1067-b31f-00dd010662da").bytes_le + struct.pack("<HH", 0, 81)
NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860").bytes_le + struct.pack("<L", 2)
BIND = struct.pack("<HHLLHH", 5840, 5840, 0, 1, 0, 1) + EMSMDB + NDR
BIND = struct.pack("<BBBBLHHL", 5, 0, 11, 3, 0x10, 16 + len(BIND), 0, 1) + BIND

if mode == "pipeline":
    s = connect()
    one = "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0\r\n\r\n"
    s.sendall("".join(one % (p, host) for p in ("/owa/", "/ecp/", "/owa/auth/logon.aspx?url=secret")).encode())
    time.sleep(0.3)
    print(len(s.recv(65536)))
    for piece in ("GE", "T /Autodiscover/Auto", "discover.xml?Email=nobody@corp.example HTT", "P/1.1\r\nHo", "st: %s\r\nConnection: close\r\n\r\n" % host):
        s.sendall(piece.encode())
        time.sleep(0.05)
    while s.recv(65536):
        pass
elif mode == "rpch":
    basic = base64.b64encode(b"CORP\\alice:Pa55word.alice").decode()
    head = ("%s /rpc/rpcproxy.dll?mb1.corp.example:6001 HTTP/1.1\r\nAccept: application/rpc\r\nUser-Agent: MSRPC\r\nContent-Length: %d\r\n"
            "Host: " + host + "\r\nConnection: Keep-Alive\r\nCache-Control: no-cache\r\nPragma: SessionId=%s\r\nAuthorization: Basic %s\r\n\r\n")
    session = uuid.uuid4()
    out, inn = connect(), connect()
    out.sendall((head % ("RPC_OUT_DATA", len(CONN_A1), session, basic)).encode() + CONN_A1)
    inn.sendall((head % ("RPC_IN_DATA", 1 << 30, session, basic)).encode() + CONN_B1)
    time.sleep(0.5)
    print(len(out.recv(65536)))
    inn.sendall(BIND)
    time.sleep(1)
    inn.close()
    out.close()
else:
    out, inn = connect(), connect()
    print(out.recv(14), inn.recv(14))
    out.sendall(rts(0x10, VERSION, (COOKIE, vc), (COOKIE, out_cookie), (4, struct.pack("<L", 1 << 30)), WINDOW))
    client = struct.pack("<L", 0) + socket.inet_aton("10.20.4.41") + b"\0" * 12
    inn.sendall(rts(0x08, VERSION, (COOKIE, vc), (COOKIE, in_cookie), WINDOW, (2, struct.pack("<L", 120000)), (12, group), (11, client)))
    time.sleep(0.2)
    inn.sendall(BIND)
    time.sleep(0.5)
    print(len(out.recv(4096)))
    # EcDoConnectEx without authentication: from 2013 on the outer HTTPS does it; here it is there to be read.
    dn = b"/o=Corp/cn=alice\x00"
    stub = struct.pack("<LLL", len(dn), 0, len(dn)) + dn + b"\0" * (-len(dn) % 4) + os.urandom(64)
    inn.sendall(struct.pack("<BBBBLHHL", 5, 0, 0, 3, 0x10, 24 + len(stub), 0, 2) + struct.pack("<LHH", len(stub), 0, 10) + stub)
    time.sleep(0.3)
    print(len(out.recv(4096)))
    inn.close()
    out.close()
