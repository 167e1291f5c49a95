"""The server's side of NTLM ([MS-NLMP] 3.2.5), enough for stand-ins.

Tokens, keys, signatures and sealing are computed as the specification says
(impacket.ntlm does the arithmetic), so that any reader of the recording sees
what a real server would have sent. Only NTLM version 2 is accepted.
"""
import os
import struct
import time

from impacket import ntlm
from Cryptodome.Cipher import ARC4

DOMAIN = "CORP"
DNS_DOMAIN = "corp.example"
# The accounts of the recorded domain. Recording is all they are for.
USERS = {
    "alice": "Pa55word.alice",
    "bob": "Pa55word.bob",
    "carol": "Pa55word.carol",
    "svc-hub": "Pa55word.hub",
    "svc-mb": "Pa55word.mb",
    "svc-cas": "Pa55word.cas",
    "svc-um": "Pa55word.um",
    "administrator": "Pa55word.admin",
}

FLAGS = (
    ntlm.NTLMSSP_NEGOTIATE_56 | ntlm.NTLMSSP_NEGOTIATE_KEY_EXCH | ntlm.NTLMSSP_NEGOTIATE_128
    | ntlm.NTLMSSP_NEGOTIATE_VERSION | ntlm.NTLMSSP_NEGOTIATE_TARGET_INFO
    | ntlm.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY | ntlm.NTLMSSP_TARGET_TYPE_DOMAIN
    | ntlm.NTLMSSP_NEGOTIATE_ALWAYS_SIGN | ntlm.NTLMSSP_NEGOTIATE_NTLM
    | ntlm.NTLMSSP_NEGOTIATE_SEAL | ntlm.NTLMSSP_NEGOTIATE_SIGN
    | ntlm.NTLMSSP_REQUEST_TARGET | ntlm.NTLMSSP_NEGOTIATE_UNICODE
)


class Acceptor:
    """One NTLM exchange: challenge() for message 1, finish() for message 3, then seal, unseal, sign."""

    def __init__(self, host, version=(6, 1, 7601)):
        self.host = host
        self.version = version
        self.server_challenge = os.urandom(8)
        self.user = None

    def challenge(self, type1):
        negotiate = ntlm.NTLMAuthNegotiate()
        negotiate.fromString(type1)
        asked = negotiate["flags"]
        keep = FLAGS & ~(ntlm.NTLMSSP_NEGOTIATE_KEY_EXCH | ntlm.NTLMSSP_NEGOTIATE_56 | ntlm.NTLMSSP_NEGOTIATE_128)
        flags = keep | (asked & (ntlm.NTLMSSP_NEGOTIATE_KEY_EXCH | ntlm.NTLMSSP_NEGOTIATE_56 | ntlm.NTLMSSP_NEGOTIATE_128))
        av = ntlm.AV_PAIRS()
        av[ntlm.NTLMSSP_AV_HOSTNAME] = self.host.upper().encode("utf-16le")
        av[ntlm.NTLMSSP_AV_DOMAINNAME] = DOMAIN.encode("utf-16le")
        av[ntlm.NTLMSSP_AV_DNS_HOSTNAME] = ("%s.%s" % (self.host, DNS_DOMAIN)).encode("utf-16le")
        av[ntlm.NTLMSSP_AV_DNS_DOMAINNAME] = DNS_DOMAIN.encode("utf-16le")
        av[ntlm.NTLMSSP_AV_TIME] = struct.pack("<Q", int((time.time() + 11644473600) * 10_000_000))
        target = DOMAIN.encode("utf-16le")
        info = av.getData()
        at = 56
        major, minor, build = self.version
        return (b"NTLMSSP\x00" + struct.pack("<LHHLL", 2, len(target), len(target), at, flags) + self.server_challenge
                + b"\x00" * 8 + struct.pack("<HHL", len(info), len(info), at + len(target))
                + struct.pack("<BBH3xB", major, minor, build, 15) + target + info)

    def finish(self, type3):
        """Checks message 3 and derives the keys; raises PermissionError when the answer is wrong."""
        fields = {}
        for name, off in (("lm", 12), ("nt", 20), ("domain", 28), ("user", 36), ("host", 44), ("key", 52)):
            length, _, offset = struct.unpack_from("<HHL", type3, off)
            fields[name] = type3[offset:offset + length]
        flags, = struct.unpack_from("<L", type3, 60)
        user = fields["user"].decode("utf-16le")
        domain = fields["domain"].decode("utf-16le")
        password = USERS.get(user.lower())
        if password is None or len(fields["nt"]) <= 24:
            raise PermissionError("unknown user or not NTLM version 2: %s" % user)
        proof, blob = fields["nt"][:16], fields["nt"][16:]
        response_key = ntlm.NTOWFv2(user, password, domain)
        if ntlm.hmac_md5(response_key, self.server_challenge + blob) != proof:
            raise PermissionError("wrong password for %s" % user)
        base = ntlm.hmac_md5(response_key, proof)
        if flags & ntlm.NTLMSSP_NEGOTIATE_KEY_EXCH:
            key = ARC4.new(base).decrypt(fields["key"])
        else:
            key = base
        self.flags, self.user = flags, user
        self.seq_in = self.seq_out = 0
        self.sign_in, self.sign_out = ntlm.SIGNKEY(flags, key, "Client"), ntlm.SIGNKEY(flags, key, "Server")
        self.rc4_in = ARC4.new(ntlm.SEALKEY(flags, key, "Client")).encrypt
        self.rc4_out = ARC4.new(ntlm.SEALKEY(flags, key, "Server")).encrypt
        return user

    def _check(self, message, signature):
        want = ntlm.MAC(self.flags, self.rc4_in, self.sign_in, self.seq_in, message).getData()
        self.seq_in += 1
        if want != signature:
            raise PermissionError("bad NTLM signature")

    def unseal(self, before, sealed, after, signature):
        """Opens sealed, which stands in the message between before and after."""
        plain = self.rc4_in(sealed)
        self._check(before + plain + after, signature)
        return plain

    def verify(self, message, signature):
        self._check(message, signature)

    def seal(self, before, plain, after):
        sealed, signature = ntlm.SEAL(self.flags, self.sign_out, None, before + plain + after, plain, self.seq_out, self.rc4_out)
        self.seq_out += 1
        return sealed, signature.getData()

    def sign(self, message):
        signature = ntlm.SIGN(self.flags, self.sign_out, message, self.seq_out, self.rc4_out)
        self.seq_out += 1
        return signature.getData()
