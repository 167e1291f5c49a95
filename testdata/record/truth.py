#!/usr/bin/python3
"""Writes the ground truth of a capture: `truth.py CAPTURE STEPS HOSTS > NAME.truth.json`.

Flows, packets, bytes and protocol facts are what tshark reads in CAPTURE; steps and what is expected of
them are what the recording script knew it did (STEPS, HOSTS: written by lib.sh). Nothing of this comes
from exspan. Bytes are IP total lengths; packets and bytes are [to server, to client].
"""
import collections
import ipaddress
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

# tshark field -> name in the truth file; every value seen in the flow is listed once, sorted.
FACTS = {
    "dcerpc.auth_type": "rpc.auth_type", "dcerpc.auth_level": "rpc.auth_level",
    "dcerpc.cn_sec_addr": "rpc.sec_addr", "ntlmssp.messagetype": "ntlm.messages",
    "ntlmssp.challenge.target_name": "ntlm.target", "kerberos.msg_type": "kerberos.messages",
    "kerberos.realm": "kerberos.realm", "kerberos.error_code": "kerberos.error", "dns.qry.name": "dns.name",
    "tls.handshake.extensions_server_name": "tls.server_name", "tls.handshake.extensions_alpn_str": "tls.alpn",
    "smtp.req.command": "smtp.command", "smtp.rsp.parameter": "smtp.answer", "http.request.method": "http.method",
    "http.host": "http.host", "http.server": "http.server", "http.user_agent": "http.user_agent",
    "http.response.code": "http.status", "http.request.version": "http.version",
    "ldap.mechanism": "ldap.mechanism", "ldap.authentication": "ldap.authentication", "ldap.baseObject": "ldap.base",
    "ldap.requestName": "ldap.extended", "smb2.tree": "smb.tree", "smb2.filename": "smb.file",
    "sip.Method": "sip.method", "sip.Status-Code": "sip.status", "sip.Call-ID": "sip.call_id", "sdp.media": "sdp.media",
    "imap.request.command": "imap.command", "pop.request.command": "pop.command", "ssh.protocol": "ssh.banner",
}
# Fields read apart: the direction, the kind of message or their order matters.
EXTRA = ["dcerpc.pkt_type", "dcerpc.cn_bind_to_uuid", "dcerpc.cn_bind_if_ver", "dcerpc.cn_bind_if_ver_minor", "dcerpc.opnum",
         "kerberos.SNameString", "kerberos.etype", "tls.handshake.type", "tls.handshake.version", "tls.handshake.ciphersuite",
         "tls.handshake.extensions.supported_version", "http.authorization", "http.www_authenticate", "smb2.dialect",
         "smb2.flags.signature", "smb2.header.transform.flags", "ldap.sasl_buffer_length", "sdp.connection_info.address",
         "sdp.media.port", "smb.dialect.name", "smb2.sec_mode.sign_required", "smb.cmd", "nbss.type", "http.request.uri", "tls.handshake.extension.type"]
CORE = ["frame.number", "frame.time_epoch", "ip.src", "ip.dst", "ip.len", "ipv6.src", "ipv6.dst", "ipv6.plen", "tcp.stream", "tcp.srcport",
        "tcp.dstport", "tcp.flags.syn", "tcp.flags.ack", "tcp.flags.reset", "udp.stream", "udp.srcport", "udp.dstport",
        "icmp.type", "icmp.code", "_ws.col.Protocol"]
SEP = "\x1f"
TLS = {"0x0300": "SSL 3.0", "0x0301": "TLS 1.0", "0x0302": "TLS 1.1", "0x0303": "TLS 1.2", "0x0304": "TLS 1.3"}


def known_fields():
    out = subprocess.run(["tshark", "-G", "fields"], capture_output=True, text=True).stdout
    return {line.split("\t")[2] for line in out.splitlines() if line.startswith("F\t")}


def rows(path, options):
    have = known_fields()
    fields = CORE + [f for f in list(FACTS) + EXTRA if f in have]
    cmd = ["tshark", "-r", path, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=" + SEP, "-E", "separator=/t"]
    cmd += options
    for f in fields:
        cmd += ["-e", f]
    out = subprocess.run(cmd, capture_output=True, text=True, errors="replace", check=True).stdout
    for line in out.splitlines():
        values = line.split("\t")
        yield {f: [x for x in v.split(SEP) if x] for f, v in zip(fields, values)}


def first(row, field):
    return row[field][0] if row.get(field) else ""


class Flow:
    def __init__(self):
        self.client = self.server = None
        self.frame = self.time = None
        self.start, self.outcome, self.answered = "midstream", None, False
        self.count = {}
        self.facts = collections.defaultdict(set)
        self.binds, self.versions = [], []


def scheme(value):
    """The scheme of an authentication header, Negotiate opened as far as its first bytes say."""
    words = value.split()
    word = words[0]
    if len(words) > 1 and word.lower() == "negotiate":
        return word + ("/ntlm" if words[1].startswith("TlRM") else "/spnego")
    return word


def number(v):
    return int(v, 0)


def read(path, options, servers):
    flows, icmp = collections.OrderedDict(), []
    total = 0
    for row in rows(path, options):
        total += 1
        v6 = bool(row["ipv6.src"]) and not row["ip.src"]
        src, dst = (first(row, "ipv6.src"), first(row, "ipv6.dst")) if v6 else (first(row, "ip.src"), first(row, "ip.dst"))
        if not src:
            continue
        if row["icmp.type"]:
            if first(row, "icmp.type") == "3":
                port = row["tcp.dstport"] or row["udp.dstport"]
                icmp.append({"from": src, "to": dst, "code": int(first(row, "icmp.code")),
                             "about": "%s:%s" % (row["ip.dst"][1], port[0]) if len(row["ip.dst"]) > 1 and port else ""})
            continue
        proto = "tcp" if row["tcp.stream"] else "udp" if row["udp.stream"] else None
        if proto is None:
            continue
        a = (src, int(first(row, proto + ".srcport")))
        b = (dst, int(first(row, proto + ".dstport")))
        # tshark begins another udp.stream where an SDP announced one of the ends; a flow is all between two ends.
        key = (proto, first(row, "tcp.stream") if proto == "tcp" else frozenset((a, b)))
        f = flows.setdefault(key, Flow())
        frame = int(first(row, "frame.number"))
        if f.frame is None:
            f.frame, f.time = frame, float(first(row, "frame.time_epoch"))
            f.client, f.server = a, b
            syn, ack = first(row, "tcp.flags.syn") in ("1", "True"), first(row, "tcp.flags.ack") in ("1", "True")
            if proto == "udp":
                f.start = "first"
            elif syn and not ack:
                f.start = "syn"
            elif syn or b not in servers and (a in servers or a[1] < b[1]):
                f.client, f.server = b, a
                f.start = "syn-ack" if syn else "midstream"
        to_server = a == f.client
        size = 40 + int(first(row, "ipv6.plen")) if v6 else int(first(row, "ip.len"))
        n = f.count.setdefault(to_server, [0, 0])
        n[0] += 1
        n[1] += size
        if not to_server:
            reset = first(row, "tcp.flags.reset") in ("1", "True")
            if reset and not f.answered and f.start == "syn":
                f.outcome = "refused"
            else:
                f.answered = True
        f.facts["dissected"].add(first(row, "_ws.col.Protocol"))
        collect(f, row, to_server)
    return total, flows, icmp


def collect(f, row, to_server):
    for field, name in FACTS.items():
        for v in row.get(field, []):
            if len(v) <= 120 and not v.startswith("TlRM"):  # no tokens
                f.facts[name].add(v)
    types = row.get("dcerpc.pkt_type", [])
    if {"11", "14"} & set(types):
        for u, major, minor in zip(row["dcerpc.cn_bind_to_uuid"], row["dcerpc.cn_bind_if_ver"], row["dcerpc.cn_bind_if_ver_minor"]):
            f.facts["rpc.interface"].add("%s v%d.%d" % (u, number(major), number(minor)))
    if "0" in types:
        for v in row["dcerpc.opnum"]:
            f.facts["rpc.opnum"].add(v)
    kinds = row.get("kerberos.msg_type", [])
    names = row.get("kerberos.SNameString", [])
    if kinds and names:
        f.facts["kerberos.service"].add("/".join(names[:2]))
    if kinds:
        for v in row.get("kerberos.etype", []):
            f.facts["kerberos.etype"].add(v)
    handshake = row.get("tls.handshake.type", [])
    if "2" in handshake:
        v = row.get("tls.handshake.extensions.supported_version") or row["tls.handshake.version"]
        f.facts["tls.version"].add(TLS.get(v[-1], v[-1]))
        f.facts["tls.cipher"].add(row["tls.handshake.ciphersuite"][-1])
        if v[-1] == "0x0304" and "41" in row["tls.handshake.extension.type"]:
            f.facts["tls.resumed"].add("yes")  # the server took the pre-shared key (RFC 8446 section 4.2.11)
    if "13" in handshake:
        f.facts["tls.client_certificate"].add("asked")
    if "11" in handshake and to_server:
        f.facts["tls.client_certificate"].add("given")
    if "11" in handshake and not to_server:
        f.facts["tls.server_certificate"].add("seen")
    for v in row.get("http.request.uri", []):
        f.facts["http.path"].add(v.split("?")[0])
    for field in ("http.authorization", "http.www_authenticate"):
        for v in row.get(field, []):
            f.facts[field].add(scheme(v))
    if "smb2.dialect" in row and not to_server:
        for v in row["smb2.dialect"]:
            f.facts["smb.dialect"].add(v)
    if set(row.get("smb2.flags.signature", [])) & {"1", "True"}:
        f.facts["smb.signed"].add("yes")
    if row.get("smb2.header.transform.flags"):
        f.facts["smb.encrypted"].add("yes")
    if row.get("ldap.sasl_buffer_length"):
        f.facts["ldap.sasl_layer"].add("yes")
    for address, port in zip(row.get("sdp.connection_info.address", []) * 9, row.get("sdp.media.port", [])):
        f.facts["sdp.endpoint"].add("%s:%s" % (address, port))


def endpoints(path):
    """What endpoint mapper answers announce, tower by tower, in the order of the answer."""
    out = subprocess.run(["tshark", "-r", path, "-Y", "epm.num_towers || epm.num_ents", "-T", "pdml"],
                         capture_output=True, text=True, check=True).stdout
    found = []
    for packet in ET.fromstring(out).iter("packet"):
        get = {}
        towers, notes, kind = [], [], None
        for field in packet.iter("field"):
            name, show = field.get("name"), field.get("show")
            get.setdefault(name, show)
            if name == "epm.opnum":
                kind = "ept_lookup" if show == "2" else "ept_map"
            elif name == "epm.annotation":
                notes.append(show)
            elif name == "epm.tower.num_floors":
                towers.append({})
            elif name == "epm.uuid" and towers:
                towers[-1].setdefault("uuid", show)
            elif name in ("epm.proto.tcp_port", "epm.proto.http_port", "epm.proto.udp_port"):
                towers[-1]["protocol"] = {"t": "ncacn_ip_tcp", "h": "ncacn_http", "u": "ncadg_ip_udp"}[name[10]]
                towers[-1]["port"] = int(show)
            elif name == "epm.proto.named_pipe":
                towers[-1]["protocol"], towers[-1]["pipe"] = "ncacn_np", show
            elif name == "epm.proto.ip":
                towers[-1]["tower_address"] = show
        if get.get("dcerpc.pkt_type") != "2":
            continue
        for i, t in enumerate(towers):
            e = {"frame": int(get["frame.number"]) if "frame.number" in get else int(get["num"]), "source": kind,
                 "server": get["ip.src"]}
            e.update(t)
            if i < len(notes) and notes[i]:
                e["annotation"] = notes[i]
            found.append(e)
    return found


def rtp(path):
    cmd = ["tshark", "-r", path, "-o", "rtp.heuristic_rtp:TRUE", "-q", "-z", "rtp,streams"]
    out = subprocess.run(cmd, capture_output=True, text=True, check=True).stdout
    streams = []
    for line in out.splitlines():
        m = re.match(r"\s*([\d.]+)\s+([\d.]+)\s+(\S+)\s+(\d+)\s+(\S+)\s+(\d+)\s+(0x\w+)\s+(.+?)\s+(\d+)\s+(-?\d+)\s+\((-?[\d.]+)%\)\s+(.*)", line)
        if m:
            rest = m.group(12).split()
            streams.append({"from": "%s:%s" % (m.group(3), m.group(4)), "to": "%s:%s" % (m.group(5), m.group(6)), "ssrc": m.group(7),
                            "payload": m.group(8), "packets": int(m.group(9)), "lost": int(m.group(10)),
                            "delta_ms": [float(x) for x in rest[0:3]], "jitter_ms": [float(x) for x in rest[3:6]]})
    return streams


def main():
    path, steps_file, hosts_file = sys.argv[1:4]
    decode = [x for d in os.environ.get("TRUTH_DECODE", "").split() for x in ("-d", d)]
    hosts = [dict(zip(("name", "address", "roles"), line.rstrip("\n").split("\t"))) for line in open(hosts_file)]
    for h in hosts:
        h["roles"], _, version = h["roles"].partition("@")
        h["roles"] = h["roles"].split(",") if h["roles"] else []
        if version:
            h["exchange"] = version
    address = {h["name"]: h["address"] for h in hosts}
    steps = []
    for line in open(steps_file):
        t0, t1, host, name, facts = line.rstrip("\n").split("\t")
        expect = dict(x.split("=", 1) for x in facts.split() if "=" in x)
        steps.append((float(t0), float(t1), host, name, expect))
    servers = {(s[4]["server"].rsplit(":", 1)[0], int(s[4]["server"].rsplit(":", 1)[1])) for s in steps if "server" in s[4]}
    total, flows, icmp = read(path, decode, servers)
    # tshark does not know that X-ANONYMOUSTLS begins TLS: read such flows again with its heuristics alone.
    options = ["--enable-heuristic", "tls_tcp"]
    for p in ("smtp", "imap", "pop"):
        options += ["--disable-protocol", p]
    for key, again in read(path, options, servers)[1].items():
        for name, values in again.facts.items():
            if name.startswith("tls.") and flows[key].server[1] in (25, 587, 110, 143):
                flows[key].facts[name] |= values
    for f in flows.values():
        if f.facts["tls.version"] & {"TLS 1.0", "TLS 1.1", "TLS 1.2"} and not f.facts["tls.server_certificate"]:
            f.facts["tls.resumed"].add("yes")
    out = []
    announced = set()
    for f in flows.values():
        for e in f.facts["sdp.endpoint"]:
            host, port = e.rsplit(":", 1)
            announced |= {e, "%s:%d" % (host, int(port) + 1)}  # RTCP is next to RTP (RFC 3550 section 11)
    pairs = {(f.client[0], f.server[0]) if up else (f.server[0], f.client[0]) for f in flows.values() for up in f.count}
    for (proto, _), f in flows.items():
        # Of two UDP ends the announced one is the server, else the one with the lower port.
        ends = ["%s:%d" % e in announced for e in (f.client, f.server)]
        if proto == "udp" and (ends[0] and not ends[1] or ends[0] == ends[1] and f.client[1] < f.server[1]):
            f.client, f.server = f.server, f.client
            f.count = {not k: v for k, v in f.count.items()}
        text = lambda e: "%s:%d" % e if ":" not in e[0] else "[%s]:%d" % e  # noqa: E731
        up, down = f.count.get(True, [0, 0]), f.count.get(False, [0, 0])
        rec = {"proto": proto, "client": text(f.client), "server": text(f.server), "first_frame": f.frame, "start": f.start,
               "packets": [up[0], down[0]], "bytes": [up[1], down[1]]}
        codes = {i["code"] for i in icmp if i["about"] == rec["server"] and i["to"] == f.client[0]}
        if codes & {9, 10, 13} and not f.answered:
            f.outcome = "prohibited"
        if f.outcome is None:
            if proto == "tcp":
                f.outcome = "midstream" if f.start == "midstream" else "answered" if f.answered else "unanswered"
            else:
                # No answer to media is no finding, unless the other end says that nobody listens.
                f.outcome = "answered" if up[0] and down[0] else "refused" if 3 in codes \
                    else "one-way" if (f.server[0], f.client[0]) not in pairs or (f.client[0], f.server[0]) not in pairs else ""
        rec["outcome"] = f.outcome
        step = None
        for s in steps:
            if s[0] == 0:
                if f.start == "midstream" and f.client[0] == address[s[2]] and s[4].get("server") == rec["server"]:
                    step = s
            elif s[0] <= f.time <= s[1]:  # steps follow one another; a proxy's flow belongs to the step that caused it
                step = s
        if step:
            rec["step"] = step[3]
            e, port = step[4], f.server[1]
            own = {"dns": 53, "kerberos": 88}.get(e.get("protocol"))
            locator = port in (53, 88) or port == 135 and e.get("rpc.interface") != "epmapper" and "epm.status" not in e
            media = "media" in e or e.get("protocol") == "sip"
            if media and proto == "udp" and 5060 not in (f.client[1], port):
                # What the script says of a call; of its media it says that there are some, and their data path.
                rec["expect"] = {k: v for k, v in e.items() if k in ("media", "path", "status", "nat", "quality")}
            elif e and (port == own if own else not locator):
                rec["expect"] = e
        rec["tshark"] = {k: sorted(v, key=lambda x: (len(x), x)) if k.endswith(("opnum", "level", "type", "messages")) else sorted(v)
                         for k, v in sorted(f.facts.items()) if v}
        out.append(rec)
    truth = {"capture": os.path.basename(path), "packets": total, "hosts": hosts,
             "reader": subprocess.run(["tshark", "-v"], capture_output=True, text=True).stdout.split("\n")[0],
             "icmp": icmp, "endpoints": endpoints(path), "rtp": rtp(path), "flows": out}
    # One line an entry, so that a new recording gives a readable difference.
    lines = []
    for k, v in truth.items():
        if isinstance(v, list):
            body = ",\n  ".join(json.dumps(x, ensure_ascii=False) for x in v)
            lines.append(' %s: [%s]' % (json.dumps(k), "\n  " + body + "\n " if v else ""))
        else:
            lines.append(" %s: %s" % (json.dumps(k), json.dumps(v)))
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
