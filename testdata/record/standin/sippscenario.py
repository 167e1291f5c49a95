#!/usr/bin/python3
"""Writes a scenario for sipp: `sippscenario.py NAME PCAP > NAME.xml`; PCAP is the media a caller plays."""
import sys

HEADERS = """
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
      From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]a[call_number]
      To: <sip:um@[remote_ip]:[remote_port]>%s
      Call-ID: [call_id]
      CSeq: %d %s
      Contact: <sip:caller@[local_ip]:[local_port];transport=[transport]>
      Max-Forwards: 70
      User-Agent: sipp"""
SDP = """
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=caller 1 %d IN IP4 [local_ip]
      s=-
      c=IN IP4 %s
      t=0 0
      m=audio %s RTP/AVP 0 101
      a=rtpmap:0 PCMU/8000
      a=rtpmap:101 telephone-event/8000
      a=fmtp:101 0-16
      a=%s
"""


def request(method, cseq, sdp=None, dialog=True, wait=True):
    text = "\n      %s sip:um@[remote_ip]:[remote_port] SIP/2.0" % method
    text += HEADERS % ("[peer_tag_param]" if dialog else "", cseq, method)
    text += SDP % sdp if sdp else "\n      Content-Length: 0\n\n"
    return "<send%s><![CDATA[\n%s\n]]></send>\n" % (' retrans="500"' if wait else "", text)


def recv(code, optional=False):
    return '<recv response="%s"%s></recv>\n' % (code, ' optional="true"' if optional else "")


def pause(ms):
    return '<pause milliseconds="%d"/>\n' % ms


def play(pcap):
    return '<nop><action><exec play_pcap_audio="%s"/></action></nop>\n' % pcap


def invite(n, address="[local_ip]", port="[media_port]", direction="sendrecv", dialog=True):
    return request("INVITE", n, (n, address, port, direction), dialog=dialog) + recv(100, True) + recv(180, True) + recv(183, True) \
        + recv(200) + request("ACK", n, wait=False)


def reply(status, extra=""):
    return ("<send><![CDATA[\n\n      SIP/2.0 %s\n      [last_Via:]\n      [last_From:]\n      [last_To:];tag=[pid]b[call_number]\n"
            "      [last_Call-ID:]\n      [last_CSeq:]\n%s      Server: stand-in\n      Content-Length: 0\n\n]]></send>\n" % (status, extra))


def scenario(name, pcap):
    if name == "media":
        return invite(1, dialog=False) + play(pcap) + pause(5000) + request("BYE", 2) + recv(200)
    if name == "hold":
        # Hold with a=inactive, back, hold the old way with 0.0.0.0, back.
        return (invite(1, dialog=False) + play(pcap) + pause(2000) + invite(2, direction="inactive") + pause(1500)
                + invite(3) + pause(1500) + invite(4, address="0.0.0.0", direction="sendonly") + pause(1500) + invite(5) + pause(1000)
                + request("BYE", 6) + recv(200))
    if name == "moveport":
        return (invite(1, dialog=False) + play(pcap) + pause(6500) + invite(2, port="[media_port+10]") + play(pcap) + pause(6500)
                + request("BYE", 3) + recv(200))
    if name == "options":
        return request("OPTIONS", 1, dialog=False) + recv(200)
    if name == "cancel":
        # CANCEL and the ACK of the 487 repeat the branch of the INVITE (RFC 3261 section 9.1); sipp counts in steps of the scenario.
        cancel = request("CANCEL", 1, dialog=False).replace("[branch]", "[branch-4]")
        return (request("INVITE", 1, (1, "[local_ip]", "[media_port]", "sendrecv"), dialog=False) + recv(100, True) + recv(180)
                + pause(1000) + cancel + recv(200) + recv(487)
                + request("ACK", 1, wait=False).replace("[branch]", "[branch-7]"))
    if name == "redirect":
        contact = "      Contact: <sip:[field0];transport=tcp>\n"
        return '<recv request="INVITE"></recv>\n' + reply("302 Moved Temporarily", contact) + '<recv request="ACK"></recv>\n'
    if name == "digits":
        return (invite(1, dialog=False) + play(pcap) + pause(2200) + play("/usr/share/sip-tester/dtmf_2833_1.pcap") + pause(1000)
                + request("BYE", 2) + recv(200))
    sys.exit("unknown scenario: " + name)


print('<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="%s">\n%s</scenario>' % (sys.argv[1], scenario(*sys.argv[1:3])))
