#!/usr/bin/python3
"""Stand-in for EMSMDB on an ncacn_http endpoint ([MS-RPCH] 2.1.2.2): `ncacnhttp.py ADDRESS PORT`.

The server speaks first (ncacn_http/1.0). The connection that brings CONN/A2 is the OUT channel; what the IN channel
brings (CONN/B2, bind, requests) is answered there.
"""
import socket
import struct
import sys
import threading

NDR = bytes.fromhex("045d888aeb1cc9119fe808002b104860") + struct.pack("<L", 2)
out_channel = []


def rts(flags, *commands):
    body = struct.pack("<HH", flags, len(commands)) + b"".join(struct.pack("<L", t) + b for t, b in commands)
    return struct.pack("<BBBBLHHL", 5, 0, 20, 3, 0x10, 16 + len(body), 0, 0) + body


def serve(conn):
    conn.sendall(b"ncacn_http/1.0")
    data = b""
    while True:
        part = conn.recv(65536)
        if not part:
            return
        data += part
        while len(data) >= 16 and len(data) >= struct.unpack_from("<H", data, 8)[0]:
            size, = struct.unpack_from("<H", data, 8)
            p, data = data[:size], data[size:]
            ptype, call = p[2], struct.unpack_from("<L", p, 12)[0]
            if ptype == 20 and struct.unpack_from("<H", p, 16)[0] & 0x10:  # CONN/A2
                out_channel[:] = [conn]
            elif ptype == 20:  # CONN/B2: answer CONN/C1 on the OUT channel, CONN/B3 here
                out_channel[0].sendall(rts(0, (6, struct.pack("<L", 1)), (0, struct.pack("<L", 65536)), (2, struct.pack("<L", 120000))))
                conn.sendall(rts(0, (0, struct.pack("<L", 65536)), (6, struct.pack("<L", 1))))
            elif ptype == 11:
                body = struct.pack("<HHLH", 4280, 4280, 0x77, 5) + b"6001\0" + b"\0" + struct.pack("<BBH", 1, 0, 0) + struct.pack("<HH", 0, 0) + NDR
                out_channel[0].sendall(struct.pack("<BBBBLHHL", 5, 0, 12, 3, 0x10, 16 + len(body), 0, call) + body)
            elif ptype == 0:
                stub = struct.pack("<L", 0) + b"\0" * 44
                out_channel[0].sendall(struct.pack("<BBBBLHHL", 5, 0, 2, 3, 0x10, 24 + len(stub), 0, call)
                                       + struct.pack("<LHH", len(stub), 0, 0) + stub)


listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    c, _ = listener.accept()
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(c,), daemon=True).start()
