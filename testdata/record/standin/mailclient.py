#!/usr/bin/python3
"""Speaks SMTP, IMAP4 or POP3 step by step, as the recording wants it.

    mailclient.py smtp|imap|pop HOST PORT [--tls VERB|implicit] [--max 1.0|1.2|1.3] [--cert FILE --key FILE] [--ca FILE]
                  [--auth MECH] [--exps MECH] [--spn SERVICE@HOST] [--user U] [--bdat] [--xexch50] [--resume] [--sni NAME]

--tls VERB sends that verb (STARTTLS, X-ANONYMOUSTLS, STLS) and upgrades where the server agrees.
--resume does all of it twice and resumes the TLS session of the first connection.
"""
import argparse
import base64
import os
import socket
import ssl
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from impacket import ntlm  # noqa: E402
import ntlmserver  # noqa: E402

a = argparse.ArgumentParser()
a.add_argument("protocol")
a.add_argument("host")
a.add_argument("port", type=int)
a.add_argument("--tls")
a.add_argument("--max", default="1.2")
a.add_argument("--cert")
a.add_argument("--key")
a.add_argument("--auth")
a.add_argument("--exps")
a.add_argument("--spn")
a.add_argument("--user", default="alice")
a.add_argument("--bdat", action="store_true")
a.add_argument("--xexch50", action="store_true")
a.add_argument("--resume", action="store_true")
a.add_argument("--sni")
a = a.parse_args()
PASSWORD = ntlmserver.USERS[a.user]
VERSION = {"1.0": ssl.TLSVersion.TLSv1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[a.max]
ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
ctx.minimum_version, ctx.maximum_version = ssl.TLSVersion.TLSv1, VERSION
ctx.set_ciphers("ALL:@SECLEVEL=0" if a.max == "1.0" else "DEFAULT")
if a.cert:
    ctx.load_cert_chain(a.cert, a.key)
session = None


class Peer:
    def __init__(self):
        self.sock = socket.create_connection((a.host, a.port), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if a.tls == "implicit":
            self.upgrade()

    def upgrade(self):
        self.sock = ctx.wrap_socket(self.sock, server_hostname=a.sni, session=session)
        print(self.sock.version(), "resumed" if self.sock.session_reused else "full")

    def line(self):
        while b"\r\n" not in self.buffer:
            part = self.sock.recv(4096)
            if not part:
                raise EOFError
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def send(self, text):
        self.sock.sendall(text.encode() + b"\r\n")


def ntlm_login(p, prefix, strip):
    """Sends message 1, reads message 2, sends message 3."""
    type1 = ntlm.getNTLMSSPType1(socket.gethostname().upper(), ntlmserver.DOMAIN, signingRequired=False)
    p.send(prefix + base64.b64encode(type1.getData()).decode())
    challenge = base64.b64decode(p.line()[strip:])
    type3, _ = ntlm.getNTLMSSPType3(type1, challenge, a.user, PASSWORD, ntlmserver.DOMAIN)
    p.send(base64.b64encode(type3.getData()).decode())


def smtp(p):
    def answer():
        while True:
            line = p.line()
            print(line)
            if line[3:4] != "-":
                return line
    def say(text):
        p.send(text)
        return answer()
    def login(verb, mechanism):
        mechanism = mechanism.upper()
        if mechanism == "NTLM":
            say("%s NTLM" % verb)
            ntlm_login(p, "", 4)
            answer()
        elif mechanism == "GSSAPI":
            import gssapi
            g = gssapi.SecurityContext(name=gssapi.Name(a.spn, gssapi.NameType.hostbased_service), usage="initiate",
                                       mech=gssapi.OID.from_int_seq("1.3.6.1.5.5.2"))
            line = say("%s GSSAPI %s" % (verb, base64.b64encode(g.step()).decode()))
            while line.startswith("334"):
                token = g.step(base64.b64decode(line[4:]))
                line = say(base64.b64encode(token or b"").decode())
            assert line.startswith("235"), line
        elif mechanism == "LOGIN":
            if say("%s LOGIN" % verb).startswith("334"):
                say(base64.b64encode(a.user.encode()).decode())
                say(base64.b64encode(PASSWORD.encode()).decode())
        elif mechanism == "PLAIN":
            say("%s PLAIN %s" % (verb, base64.b64encode(b"\0%s\0%s" % (a.user.encode(), PASSWORD.encode())).decode()))
        elif mechanism == "EXTERNAL":
            say("%s EXTERNAL =" % verb)
    answer()
    say("EHLO %s.%s" % (socket.gethostname(), ntlmserver.DNS_DOMAIN))
    if a.tls and a.tls != "implicit" and say(a.tls).startswith("220"):
        p.upgrade()
        say("EHLO %s.%s" % (socket.gethostname(), ntlmserver.DNS_DOMAIN))
    if a.exps:
        login("X-EXPS", a.exps)
    if a.auth:
        login("AUTH", a.auth)
    body = b"From: <alice@corp.example>\r\nTo: <bob@corp.example>\r\nSubject: recorded\r\n\r\nA short message.\r\n" * 3
    if say("MAIL FROM:<alice@corp.example> SIZE=%d" % len(body)).startswith("250"):
        say("RCPT TO:<bob@corp.example>")
        if a.xexch50:
            say("XEXCH50 600 2")
            p.sock.sendall(struct.pack("<L", 600) + os.urandom(596))
            answer()
        if a.bdat:
            p.sock.sendall(b"BDAT %d LAST\r\n" % len(body) + body)
            answer()
        else:
            say("DATA")
            p.sock.sendall(body + b".\r\n")
            answer()
    say("QUIT")


def imap(p):
    n = 0
    def say(text, until_tag=True):
        nonlocal n
        n += 1
        p.send("a%d %s" % (n, text))
        while True:
            line = p.line()
            print(line)
            if line.startswith("a%d " % n) or not until_tag:
                return line
    print(p.line())
    say("CAPABILITY")
    if a.tls == "STARTTLS" and "OK" in say("STARTTLS"):
        p.upgrade()
        say("CAPABILITY")
    if a.auth == "ntlm":
        say("AUTHENTICATE NTLM", until_tag=False)
        ntlm_login(p, "", 2)
        print(p.line())
    elif a.auth == "plain":
        say("AUTHENTICATE PLAIN", until_tag=False)
        p.send(base64.b64encode(b"\0%s\0%s" % (a.user.encode(), PASSWORD.encode())).decode())
        while not p.line().startswith("a%d " % n):
            pass
    else:
        say("LOGIN %s %s" % (a.user, PASSWORD))
    say('LIST "" "*"')
    say("SELECT INBOX")
    say("LOGOUT")


def pop(p):
    def say(text, many=False):
        p.send(text)
        line = p.line()
        print(line)
        while many and line != ".":
            line = p.line()
        return line
    print(p.line())
    say("CAPA", True)
    if a.tls == "STLS" and say("STLS").startswith("+OK"):
        p.upgrade()
        say("CAPA", True)
    if a.auth == "ntlm":
        say("AUTH NTLM")
        ntlm_login(p, "", 2)
        print(p.line())
    else:
        say("USER " + a.user)
        say("PASS " + PASSWORD)
    say("STAT")
    say("QUIT")


for _ in range(2 if a.resume else 1):
    p = Peer()
    {"smtp": smtp, "imap": imap, "pop": pop}[a.protocol](p)
    if isinstance(p.sock, ssl.SSLSocket):
        session = p.sock.session
        try:
            p.sock.unwrap()
        except OSError:
            pass
    p.sock.close()
