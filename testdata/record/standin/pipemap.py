#!/usr/bin/python3
"""Asks the endpoint mapper of a domain controller through \\pipe\\epmapper: `pipemap.py ADDRESS`."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from impacket.dcerpc.v5 import epm, nrpc, transport  # noqa: E402
from impacket.smb3structs import SMB2_DIALECT_21  # noqa: E402
import ntlmserver  # noqa: E402

t = transport.DCERPCTransportFactory("ncacn_np:%s[\\pipe\\epmapper]" % sys.argv[1])
t.set_credentials("alice", ntlmserver.USERS["alice"], ntlmserver.DOMAIN)
t.preferred_dialect(SMB2_DIALECT_21)  # under SMB3 impacket encrypts, and there is nothing to read
dce = t.get_dce_rpc()
dce.connect()
print(epm.hept_map(sys.argv[1], nrpc.MSRPC_UUID_NRPC, protocol="ncacn_ip_tcp", dce=dce))
