#!/usr/bin/python3
"""Media for the recordings: `rtppcap.py wav FILE SECONDS HZ` or `rtppcap.py pcap FILE SECONDS clean|bad`.

pcap writes an RTP stream of G.711 for sipp to play. bad has what a bad network does, the same in every run: packets lost singly and
in a burst, some late (jitter), some swapped, some twice.
"""
import math
import random
import struct
import sys
import wave


def ulaw(x):
    """ITU-T G.711, as 16-bit sample to byte."""
    sign, x = (0x80, -x) if x < 0 else (0, x)
    x = min(x, 32635) + 132
    exponent = max(x.bit_length() - 8, 0)
    return ~(sign | exponent << 4 | (x >> (exponent + 3)) & 0x0F) & 0xFF


def samples(seconds, hz):
    for i in range(int(8000 * seconds)):
        swell = 0.5 - 0.5 * math.cos(2 * math.pi * i / 4000)
        yield int(9000 * swell * math.sin(2 * math.pi * hz * i / 8000))


kind, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
if kind == "wav":
    with wave.open(path, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(8000)
        w.writeframes(b"".join(struct.pack("<h", s) for s in samples(seconds, float(sys.argv[4]))))
    sys.exit()
bad, r = sys.argv[4] == "bad", random.Random(7)
voice = bytes(ulaw(s) for s in samples(seconds, 350))
packets = []
for n in range(len(voice) // 160):
    rtp = struct.pack(">BBHLL", 0x80, 0x80 if n == 0 else 0, 1000 + n, 160 * n, 0x1A2B3C4D) + voice[160 * n:160 * n + 160]
    at = 20000 * n
    if bad:
        if r.random() < 0.03 or 60 <= n < 66:
            continue
        at += int(r.expovariate(1 / 6000))
        if r.random() < 0.02:
            at += 45000
        if r.random() < 0.01:
            packets.append((at + 500, rtp))
    packets.append((at, rtp))
packets.sort(key=lambda p: p[0])
with open(path, "wb") as f:
    f.write(struct.pack("<LHHLLLL", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    for at, rtp in packets:
        udp = struct.pack(">HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2") + udp
        frame = b"\x02" + b"\0" * 11 + b"\x08\x00" + ip
        f.write(struct.pack("<LLLL", at // 1000000, at % 1000000, len(frame), len(frame)) + frame)
