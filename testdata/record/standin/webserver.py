#!/usr/bin/python3
"""Stand-in for IIS with Exchange's virtual directories, in clear HTTP.

    webserver.py HOST ADDRESS PORT 2010|2016fe|2016be

Answers with the status codes and headers that Exchange gives, over HTTP/1.1 with keep-alive and pipelining.
Basic, NTLM (real tokens, by connection) and Negotiate (Kerberos by MIT's GSS-API with KRB5_KTNAME, or NTLM).
RPC_IN_DATA and RPC_OUT_DATA are answered as an RPC proxy does ([MS-RPCH] 3.2.3). Contents are invented.
"""
import base64
import os
import socket
import struct
import sys
import threading
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ntlmserver  # noqa: E402

HOST, ADDRESS, PORT, KIND = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
IIS = "Microsoft-IIS/7.5" if KIND == "2010" else "Microsoft-IIS/10.0"
BUILD = "14.3.123.4" if KIND == "2010" else "15.1.2375.7"
REALM = "mail.corp.example"
# Virtual directory -> schemes offered.
AUTH = {
    "/ews": ["Negotiate", "NTLM"], "/autodiscover": ["Negotiate", "NTLM", 'Basic realm="%s"' % REALM],
    "/oab": ["Negotiate", "NTLM"], "/microsoft-server-activesync": ['Basic realm="%s"' % REALM],
    "/rpc": ["NTLM", 'Basic realm="%s"' % REALM], "/powershell": ["Negotiate"],
    "/mapi": ["Negotiate", "NTLM"], "/ecp": [], "/owa": [],
}


def rts(flags, *commands):
    """An RTS PDU ([MS-RPCH] 2.2.3.6): commands are (type, bytes)."""
    body = struct.pack("<HH", flags, len(commands)) + b"".join(struct.pack("<L", t) + b for t, b in commands)
    return struct.pack("<BBBBLHHL", 5, 0, 20, 3, 0x10, 16 + len(body), 0, 0) + body


CONN_A3 = rts(0, (2, struct.pack("<L", 120000)))
CONN_C2 = rts(0, (6, struct.pack("<L", 1)), (0, struct.pack("<L", 65536)), (2, struct.pack("<L", 120000)))


class Connection(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.buffer, self.user, self.acceptor, self.gss = sock, b"", None, None, None

    def run(self):
        try:
            while self.request():
                pass
        except (OSError, ValueError, PermissionError) as e:
            print(repr(e), file=sys.stderr, flush=True)
        finally:
            self.sock.close()

    def more(self):
        part = self.sock.recv(65536)
        self.buffer += part
        return bool(part)

    def request(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self.more():
                return False
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.method, target, _ = lines[0].split(" ", 2)
        self.headers = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:])}
        self.path = target.split("?")[0].lower()
        length = int(self.headers.get("content-length", "0"))
        if self.method in ("RPC_IN_DATA", "RPC_OUT_DATA"):
            return self.channel(length)
        while len(self.buffer) < length:
            if not self.more():
                return False
        self.body, self.buffer = self.buffer[:length], self.buffer[length:]
        self.dispatch()
        return self.headers.get("connection", "").lower() != "close"

    def answer(self, status, headers=(), body=b"", length=None):
        out = ["HTTP/1.1 " + status, "Server: " + IIS, "X-Powered-By: ASP.NET"]
        if KIND == "2016fe":
            out.append("X-FEServer: " + HOST.upper())
        if KIND == "2016be":
            out += ["X-BEServer: " + HOST.upper(), "X-DiagInfo: " + HOST.upper()]
        if KIND == "2010" and self.path.startswith(("/ews", "/autodiscover")):
            out.append("X-DiagInfo: " + HOST.upper())
        out += list(headers) + ["Content-Length: %d" % (len(body) if length is None else length)]
        self.sock.sendall(("\r\n".join(out) + "\r\n\r\n").encode() + body)

    def refuse(self, schemes, extra=()):
        self.answer("401 Unauthorized", ["WWW-Authenticate: " + s for s in schemes] + list(extra), b"Access is denied.\r\n")

    def login(self):
        """True when the request is from somebody known; otherwise the answer has been sent."""
        schemes = next((v for k, v in AUTH.items() if self.path.startswith(k)), [])
        if not schemes or self.user:
            return True
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        offered = [s.split()[0].lower() for s in schemes]
        if scheme.lower() not in offered:
            self.refuse(schemes)
            return False
        token = base64.b64decode(value)
        if scheme.lower() == "basic":
            name, _, password = token.decode().partition(":")
            name = name.split("\\")[-1]
            if ntlmserver.USERS.get(name) != password:
                self.refuse(schemes)
                return False
            return True  # Basic holds for one request
        at = token.find(b"NTLMSSP\x00")
        if at >= 0:
            if token[at + 8] == 1:
                self.acceptor = ntlmserver.Acceptor(HOST)
                challenge = self.acceptor.challenge(token[at:])
                self.refuse(["%s %s" % (scheme, base64.b64encode(challenge).decode())])
                return False
            self.user = self.acceptor.finish(token[at:])
            return True
        import gssapi
        self.gss = self.gss or gssapi.SecurityContext(creds=gssapi.Credentials(usage="accept"), usage="accept")
        out = self.gss.step(token)
        self.token = base64.b64encode(out or b"").decode()
        self.user = str(self.gss.initiator_name)
        return True

    def dispatch(self):
        self.token = None
        if not self.login():
            return
        extra = ["WWW-Authenticate: Negotiate " + self.token] if self.token else []
        p = self.path
        xml = ["Content-Type: text/xml; charset=utf-8"] + extra
        if p == "/":
            self.answer("302 Found", ["Location: /owa"])
        elif p in ("/owa", "/owa/"):
            self.answer("302 Found", ["Location: /owa/auth/logon.aspx?replaceCurrent=1&url=https%3a%2f%2fmail.corp.example%2fowa%2f"])
        elif p == "/owa/auth/logon.aspx":
            self.answer("200 OK", ["Content-Type: text/html; charset=utf-8", "X-OWA-Version: " + BUILD,
                                   "Set-Cookie: OutlookSession=%s; path=/" % uuid.uuid4().hex], b"<html>" + b"<p>Outlook Web App</p>" * 40)
        elif p == "/owa/auth.owa":
            self.answer("302 Moved Temporarily", ["Location: /owa/", "Set-Cookie: sessionid=%s; path=/" % uuid.uuid4().hex,
                                                  "Set-Cookie: cadata=\"%s\"; path=/" % uuid.uuid4().hex])
        elif p.startswith("/owa/"):
            self.answer("200 OK", ["Content-Type: text/html", "X-OWA-Version: " + BUILD], b"<html></html>" * 20)
        elif p.startswith("/ecp"):
            self.answer("302 Found", ["Location: /owa/auth/logon.aspx?url=https%3a%2f%2fmail.corp.example%2fecp%2f"])
        elif p.startswith("/ews/"):
            self.answer("200 OK", xml, b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"/>')
        elif p.startswith("/autodiscover/"):
            self.answer("200 OK", xml, b'<?xml version="1.0"?><Autodiscover/>')
        elif p.startswith("/microsoft-server-activesync"):
            self.answer("200 OK", extra + ["MS-Server-ActiveSync: " + ("14.3" if KIND == "2010" else "15.1"),
                                           "MS-ASProtocolVersions: 2.0,2.1,2.5,12.0,12.1,14.0,14.1" + ("" if KIND == "2010" else ",16.0,16.1"),
                                           "Content-Type: application/vnd.ms-sync.wbxml"], os.urandom(40))
        elif p.startswith("/oab/"):
            self.answer("200 OK", xml, b'<?xml version="1.0"?><OAB/>' + b" " * 2000)
        elif p.startswith("/powershell"):
            self.answer("200 OK", ["Content-Type: application/soap+xml;charset=UTF-8"] + extra, b"<s:Envelope/>")
        elif p.startswith("/mapi/"):
            self.answer("200 OK", ["Content-Type: application/mapi-http", "X-RequestType: " + self.headers.get("x-requesttype", ""),
                                   "X-ResponseCode: 0", "X-ServerApplication: Exchange/" + BUILD] + extra, os.urandom(64))
        elif p == "/public":
            self.answer("302 Found", ["Location: /owa/?cmd=contents&module=publicfolders"])
        else:
            self.answer("404 Not Found", (), b"404\r\n")

    def channel(self, length):
        """RPC over HTTP version 2: the IN channel is read, the OUT channel answers CONN/A3 and CONN/C2."""
        if not self.login():
            if length > 1000:
                return False
            while len(self.buffer) < length and self.more():
                pass
            self.buffer = self.buffer[length:]
            return True
        if self.method == "RPC_OUT_DATA":
            while len(self.buffer) < length and self.more():
                pass
            self.answer("200 Success", ["Content-Type: application/rpc"], CONN_A3 + CONN_C2, length=1 << 30)
            threading.Event().wait(2)
            return False
        while self.more():
            self.buffer = b""
        return False


listener = socket.create_server((ADDRESS, PORT))
while True:
    conn, _ = listener.accept()
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    Connection(conn).start()
