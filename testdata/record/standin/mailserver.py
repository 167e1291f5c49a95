#!/usr/bin/python3
"""Stand-in for the mail protocols of an Exchange 2010 server.

    mailserver.py HOST ADDRESS CERT KEY CA ROLE

ROLE hub or edge: SMTP on 25 (and 587 for hub) with the banner and EHLO keywords of Exchange 2010.
STARTTLS and X-ANONYMOUSTLS really upgrade; under X-ANONYMOUSTLS an edge server asks for a client
certificate and demands it (direct trust). X-EXPS and AUTH do NTLM and GSSAPI with real tokens.
ROLE cas: IMAP4 on 143 and 993, POP3 on 110 and 995, with the banners of Exchange 2010.
Mail is accepted and thrown away.
"""
import base64
import os
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ntlmserver  # noqa: E402

HOST, ADDRESS, CERT, KEY, CA, ROLE = sys.argv[1:7]
FQDN = "%s.%s" % (HOST, ntlmserver.DNS_DOMAIN)


def tls_context(client_certificate):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.minimum_version = ssl.TLSVersion.TLSv1
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    ctx.load_cert_chain(CERT, KEY)
    if client_certificate:
        ctx.load_verify_locations(CA)
        ctx.verify_mode = ssl.CERT_REQUIRED
    return ctx


TLS, TLS_DIRECT_TRUST = tls_context(False), tls_context(True)


class Connection(threading.Thread):
    def __init__(self, sock, port):
        super().__init__(daemon=True)
        self.sock, self.port, self.buffer, self.tls = sock, port, b"", False

    def run(self):
        try:
            self.serve()
        except (OSError, EOFError, ValueError, PermissionError) as e:
            print(self.port, repr(e), file=sys.stderr, flush=True)
        finally:
            try:
                if isinstance(self.sock, ssl.SSLSocket):
                    self.sock.unwrap()
            except OSError:
                pass
            self.sock.close()

    def line(self):
        while b"\r\n" not in self.buffer:
            part = self.sock.recv(4096)
            if not part:
                raise EOFError
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, n):
        while len(self.buffer) < n:
            part = self.sock.recv(65536)
            if not part:
                raise EOFError
            self.buffer += part
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def send(self, text):
        self.sock.sendall(text.encode() + b"\r\n")

    def upgrade(self, ctx=TLS):
        self.sock, self.tls, self.buffer = ctx.wrap_socket(self.sock, server_side=True), True, b""

    def ntlm(self, prompt, initial=None):
        """The three NTLM messages in base64 lines; prompt(b64) sends a challenge line."""
        acceptor = ntlmserver.Acceptor(HOST)
        if initial is None:
            initial = base64.b64decode(self.line())
        prompt(base64.b64encode(acceptor.challenge(initial)).decode())
        return acceptor.finish(base64.b64decode(self.line()))

    def gssapi(self, prompt, initial):
        import gssapi
        ctx = gssapi.SecurityContext(creds=gssapi.Credentials(usage="accept"), usage="accept")
        token = initial
        while True:
            answer = ctx.step(token)
            if ctx.complete:
                return base64.b64encode(answer or b"").decode()
            prompt(base64.b64encode(answer).decode())
            token = base64.b64decode(self.line())


class SMTP(Connection):
    def ehlo(self):
        words = ["%s Hello [%s]" % (FQDN, self.sock.getpeername()[0]), "SIZE 10485760", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES"]
        if self.port == 587:
            if not self.tls:
                words.append("STARTTLS")
            words += ["AUTH GSSAPI NTLM" + (" LOGIN" if self.tls else ""), "8BITMIME", "BINARYMIME", "CHUNKING"]
        else:
            if not self.tls:
                words += ["STARTTLS", "X-ANONYMOUSTLS"]
            words += ["AUTH NTLM" + (" LOGIN" if self.tls else ""), "X-EXPS GSSAPI NTLM" + (" EXTERNAL" if self.tls else ""),
                      "8BITMIME", "BINARYMIME", "CHUNKING", "XEXCH50", "XRDST", "XSHADOW"]
        for w in words[:-1]:
            self.send("250-" + w)
        self.send("250 " + words[-1])

    def serve(self):
        self.send("220 %s Microsoft ESMTP MAIL Service ready at %s" % (FQDN, time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())))
        def prompt(b64):
            self.send("334 " + b64)
        while True:
            line = self.line()
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb in ("EHLO", "HELO"):
                self.ehlo()
            elif verb in ("STARTTLS", "X-ANONYMOUSTLS"):
                self.send("220 2.0.0 SMTP server ready")
                self.upgrade(TLS_DIRECT_TRUST if ROLE == "edge" and verb == "X-ANONYMOUSTLS" else TLS)
            elif verb in ("AUTH", "X-EXPS"):
                mechanism, _, initial = rest.partition(" ")
                if mechanism.upper() == "NTLM":
                    if not initial:
                        self.send("334 NTLM supported")
                    self.ntlm(prompt, base64.b64decode(initial) if initial else None)
                    self.send("235 2.7.0 Authentication successful")
                elif mechanism.upper() == "GSSAPI":
                    if not initial:
                        self.send("334 GSSAPI supported")
                        initial = self.line()
                    self.send("235 " + (self.gssapi(prompt, base64.b64decode(initial)) or "<authentication response>"))
                elif mechanism.upper() == "EXTERNAL" and self.tls:
                    self.send("235 <authentication response>")
                elif mechanism.upper() == "LOGIN" and self.tls:
                    self.send("334 VXNlcm5hbWU6")
                    self.line()
                    self.send("334 UGFzc3dvcmQ6")
                    self.line()
                    self.send("235 2.7.0 Authentication successful")
                else:
                    self.send("504 5.7.4 Unrecognized authentication type")
            elif verb == "MAIL":
                self.send("250 2.1.0 Sender OK")
            elif verb == "RCPT":
                self.send("250 2.1.5 Recipient OK")
            elif verb == "DATA":
                self.send("354 Start mail input; end with <CRLF>.<CRLF>")
                while self.line() != ".":
                    pass
                self.send("250 2.6.0 <1@%s> [InternalId=1] Queued mail for delivery" % FQDN)
            elif verb == "BDAT":
                self.exactly(int(rest.split()[0]))
                self.send("250 2.6.0 CHUNK received OK")
            elif verb == "XEXCH50":
                self.send("354 Send binary data")
                self.exactly(int(rest.split()[0]))
                self.send("250 2.0.0 XEXCH50 OK")
            elif verb == "QUIT":
                self.send("221 2.0.0 Service closing transmission channel")
                return
            elif verb in ("RSET", "NOOP"):
                self.send("250 2.0.0 OK")
            else:
                self.send("500 5.3.3 Unrecognized command")


class IMAP(Connection):
    def serve(self):
        if self.port == 993:
            self.upgrade()
        self.send("* OK The Microsoft Exchange IMAP4 service is ready.")
        while True:
            tag, _, rest = self.line().partition(" ")
            verb, _, rest = rest.partition(" ")
            verb = verb.upper()
            if verb == "CAPABILITY":
                self.send("* CAPABILITY IMAP4 IMAP4rev1 AUTH=NTLM AUTH=GSSAPI AUTH=PLAIN%s UIDPLUS CHILDREN IDLE NAMESPACE LITERAL+"
                          % ("" if self.tls else " STARTTLS"))
                self.send(tag + " OK CAPABILITY completed.")
            elif verb == "STARTTLS":
                self.send(tag + " OK Begin TLS negotiation now.")
                self.upgrade()
            elif verb == "LOGIN":
                self.send(tag + " OK LOGIN completed.")
            elif verb == "AUTHENTICATE" and rest.upper() == "NTLM":
                self.send("+")
                self.ntlm(lambda b64: self.send("+ " + b64))
                self.send(tag + " OK AUTHENTICATE completed.")
            elif verb == "LIST":
                self.send('* LIST (\\HasNoChildren) "/" INBOX')
                self.send(tag + " OK LIST completed.")
            elif verb == "SELECT":
                self.send("* 0 EXISTS")
                self.send(tag + " OK [READ-WRITE] SELECT completed.")
            elif verb == "LOGOUT":
                self.send("* BYE Microsoft Exchange Server 2010 IMAP4 server signing off.")
                self.send(tag + " OK LOGOUT completed.")
                return
            else:
                self.send(tag + " BAD Command Error. 12")


class POP3(Connection):
    def serve(self):
        if self.port == 995:
            self.upgrade()
        self.send("+OK The Microsoft Exchange POP3 service is ready.")
        while True:
            verb, _, rest = self.line().partition(" ")
            verb = verb.upper()
            if verb == "CAPA":
                for w in ["+OK", "TOP", "UIDL", "SASL NTLM GSSAPI PLAIN", "USER"] + ([] if self.tls else ["STLS"]) + ["."]:
                    self.send(w)
            elif verb == "STLS":
                self.send("+OK Begin TLS negotiation.")
                self.upgrade()
            elif verb == "USER":
                self.send("+OK")
            elif verb == "PASS":
                self.send("+OK User successfully logged on.")
            elif verb == "AUTH" and rest.upper() == "NTLM":
                self.send("+ ")
                self.ntlm(lambda b64: self.send("+ " + b64))
                self.send("+OK User successfully logged on.")
            elif verb == "STAT":
                self.send("+OK 0 0")
            elif verb == "QUIT":
                self.send("+OK Microsoft Exchange Server 2010 POP3 server signing off.")
                return
            else:
                self.send("-ERR Protocol error. 14")


def listen(port, kind):
    listener = socket.create_server((ADDRESS, port))
    def loop():
        while True:
            conn, _ = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            kind(conn, port).start()
    threading.Thread(target=loop, daemon=True).start()


if ROLE == "cas":
    for p in (143, 993):
        listen(p, IMAP)
    for p in (110, 995):
        listen(p, POP3)
else:
    listen(25, SMTP)
    if ROLE == "hub":
        listen(587, SMTP)
threading.Event().wait()
