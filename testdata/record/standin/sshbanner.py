#!/usr/bin/python3
"""Stand-in for an SSH server: the two identification strings (RFC 4253 section 4.2) and no more.

    sshbanner.py ADDRESS PORT             serves
    sshbanner.py --client ADDRESS PORT    connects
"""
import socket
import sys

if sys.argv[1] == "--client":
    s = socket.create_connection((sys.argv[2], int(sys.argv[3])), 5)
    s.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    print(s.recv(256))
    s.close()
else:
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
    while True:
        conn, _ = listener.accept()
        conn.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
        conn.recv(256)
        conn.close()
