#!/usr/bin/python3
"""Tells a baresip on this host (module ctrl_tcp, port 4444) what to do: `baresipctl.py COMMAND[=PARAMS]|SECONDS...`."""
import json
import socket
import sys
import time

s = socket.create_connection(("127.0.0.1", 4444), 5)
for word in sys.argv[1:]:
    if word.replace(".", "").isdigit():
        time.sleep(float(word))
        continue
    command, _, params = word.partition("=")
    text = json.dumps({"command": command, "params": params})
    s.sendall(b"%d:%s," % (len(text), text.encode()))
    time.sleep(0.2)
    print(s.recv(65536)[:200])
