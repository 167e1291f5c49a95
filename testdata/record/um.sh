#!/bin/bash
# Records um-*.pcapng: SIP, SDP and RTP between telephone systems and a Unified Messaging server.
. "$(dirname "$0")/lib.sh"
OUT=${1:?output folder}
NETWORKS="10.20.3.0/24=admin 10.20.4.0/24=client"
packages iproute2 ethtool nftables tcpdump tshark wireshark-common sip-tester baresip-core openssl

network
host um1 10.20.2.15 um
host um2 10.20.2.25 um
host pbx1 10.20.5.10 pbx
host pbx2 10.20.5.20 pbx
host phone1 10.20.4.61 client
host router 10.20.0.1 ""
names
for h in um1 um2 pbx1 pbx2 phone2; do
    certificate $h
    cat "$WORK/$h.crt" "$WORK/$h.key" >"$WORK/$h.pem"
done

# phone2 is behind router, which hides it: masquerading, and nothing comes in unasked.
host phone2 10.20.99.99 ""
sed -i '/^phone2\t/d' "$HOSTS"
ip -n $NS-router link add lan address 02:00:c0:a8:4d:01 type veth peer name eth1 netns $NS-phone2
ip -n $NS-router addr add 192.168.77.1/24 dev lan
ip -n $NS-router link set lan up
ip -n $NS-phone2 link del eth0
ip -n $NS-phone2 link set eth1 name eth0 address 02:00:c0:a8:4d:0a
ip -n $NS-phone2 addr add 192.168.77.10/24 dev eth0
ip -n $NS-phone2 link set eth0 up
ip -n $NS-phone2 route add default via 192.168.77.1
in_ phone2 ethtool -K eth0 tso off gso off gro off tx off rx off >/dev/null 2>&1
in_ router ethtool -K lan tso off gso off gro off tx off rx off >/dev/null 2>&1
in_ router sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_helper=0 2>/dev/null || in_ router sysctl -qw net.ipv4.ip_forward=1
in_ router nft -f - <<EOC
table ip n {
 chain out {
  type nat hook postrouting priority 100;
  oifname "eth0" ip saddr 192.168.77.0/24 masquerade random
 }
 chain through {
  type filter hook forward priority 0; policy drop;
  iifname "lan" accept
  ct state established,related accept
 }
}
EOC
# um1 answers to the address that the SDP names: towards the router, which drops it.
ip -n $NS-um1 route add 192.168.77.0/24 via 10.20.0.1

$PY "$STANDIN/rtppcap.py" wav "$WORK/a.wav" 30 440
$PY "$STANDIN/rtppcap.py" wav "$WORK/b.wav" 30 660
$PY "$STANDIN/rtppcap.py" pcap "$WORK/clean.pcap" 6 clean
$PY "$STANDIN/rtppcap.py" pcap "$WORK/short.pcap" 2 clean
$PY "$STANDIN/rtppcap.py" pcap "$WORK/bad.pcap" 6 bad
for s in moveport options cancel redirect; do $PY "$STANDIN/sippscenario.py" $s "$WORK/clean.pcap" >"$WORK/$s.xml"; done
$PY "$STANDIN/sippscenario.py" media "$WORK/bad.pcap" >"$WORK/bad.xml"
$PY "$STANDIN/sippscenario.py" hold "$WORK/short.pcap" >"$WORK/hold.xml"
$PY "$STANDIN/sippscenario.py" digits "$WORK/short.pcap" >"$WORK/digits.xml"
MODULES=$(dirname "$(find /usr/lib -name g711.so -path '*baresip*' | head -1)")

# agent NAME HOST PORT WAV ACCOUNT-PARAMETERS [RTP-PORTS]: configuration folder of a baresip
agent() {
    local d=$WORK/agent-$1
    mkdir -p "$d"
    cat >"$d/config" <<EOC
poll_method epoll
sip_listen $(agent_address "$2"):$3
sip_certificate $WORK/$2.pem
sip_cafile $WORK/trusted.crt
call_local_timeout 60
call_max_calls 8
audio_player aubridge,nil
audio_source aufile,$4
audio_alert aubridge,nil
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports ${6:-20000-20098}
rtcp_mux no
jitter_buffer_delay 2-10
net_interface eth0
module_path $MODULES
module g711.so
module aufile.so
module aubridge.so
module srtp.so
module dtls_srtp.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
EOC
    case $1 in *-ctl) printf 'module_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:4444\n' >>"$d/config" ;; esac
    printf '<sip:%s@%s:%s%s\n' "${1%%-*}" "$(agent_address "$2")" "$3" "$5" >"$d/accounts"
    : >"$d/contacts"
}
agent_address() { [ "$1" = phone2 ] && echo 192.168.77.10 || address "$1"; }
# answer NAME HOST...: that agent waits for calls on HOST
answer() { spawn "$2" "agent-$1" baresip -f "$WORK/agent-$1"; }
# call NAME SECONDS URI: that agent calls, and hangs up after so many seconds
call() { echo "$WORK/dial" "$WORK/agent-$1" "$2" "$3"; }
printf '#!/bin/bash\nexec baresip -f "$1" -t "$2" -e "/dial $3"\n' >"$WORK/dial"
chmod +x "$WORK/dial"
quiet() { ip netns pids "$NS-$1" | xargs -r kill 2>/dev/null || true; sleep 0.5; }
SIPP="sipp -nostdin -m 1 -timeout 40 -trace_err"
cd "$WORK"
UM=10.20.2.15

# take NAME: finish this capture and begin the bookkeeping of the next one
take() {
    local failed=${FAILED:-}
    FAILED=
    finish "$1" "$OUT" || failed="$failed $1"
    mv "$STEPS" "$WORK/$1.steps.tsv"
    : >"$STEPS"
    FAILED=$failed
    for h in um1 um2 pbx1 pbx2 phone1 phone2; do quiet $h; done
}
# redirected HOST AGENT: a call as the port reference documents it for Unified Messaging (2010.um.phone): the UM service on
# 5060 sends the caller to its worker on 5065, which is AGENT. Afterwards nothing runs on HOST.
redirected() {
    local a
    a=$(address "$1")
    printf 'SEQUENTIAL\num@%s:5065\n' "$a" >"$WORK/$1.csv"
    answer "$2" "$1"
    spawn "$1" "service-$1" sipp -nostdin -sf redirect.xml -inf "$1.csv" -t t1 -i "$a" -p 5060
    listening "$1" 5060
    listening "$1" 5065
    step "pbx1 calls $1, is sent from 5060 to 5065" pbx1 "protocol=sip transport=tcp sip.status=302 redirect=$a:5065 path=2010.um.phone media=pcmu" \
        $(call pbx-tcp 3 "sip:um@$a:5060")
    quiet "$1"
}
T=";transport=tcp>;regint=0;audio_codecs=pcmu"
N=";transport=udp>;regint=0;audio_codecs=pcmu"

# 1. UDP and TCP, with real media from both ends, OPTIONS and CANCEL
agent um-udp um1 5060 "$WORK/b.wav" "$N;answermode=auto" 30000-30098
agent um-worker um1 5065 "$WORK/b.wav" "$T;answermode=auto" 30000-30098
agent um-other um2 5065 "$WORK/b.wav" "$T;answermode=auto" 30000-30098
agent um-manual um2 5060 "$WORK/b.wav" "$N" 30000-30098
agent pbx-udp pbx1 5060 "$WORK/a.wav" "$N"
agent pbx-tcp pbx1 5060 "$WORK/a.wav" "$T"
record um-calls
redirected um1 um-worker
redirected um2 um-other
answer um-udp um1
answer um-manual um2
sleep 1.5
step "pbx1 asks um1 whether it is there" pbx1 "protocol=sip sip.method=OPTIONS" $SIPP -sf options.xml -i 10.20.5.10 -p 5062 $UM:5060
step "pbx1 calls um1 over UDP" pbx1 "protocol=sip transport=udp media=pcmu hangup=caller" $(call pbx-udp 6 "sip:um@$UM")
step "pbx1 calls um1 over TCP" pbx1 "protocol=sip transport=tcp media=pcmu hangup=caller" $(call pbx-tcp 6 "sip:um@$UM")
step "pbx1 calls um1 over UDP and presses 1" pbx1 "protocol=sip transport=udp media=pcmu,telephone-event" \
    $SIPP -sf digits.xml -i 10.20.5.10 -p 5064 -mp 21200 $UM:5060
step "pbx1 calls um2 and gives up" pbx1 "protocol=sip sip.status=487" $SIPP -sf cancel.xml -i 10.20.5.10 -p 5062 10.20.2.25:5060
take um-calls

# 2. The UM service redirects to its worker: 302 from 5060 to 5065
echo "SEQUENTIAL" >"$WORK/worker.csv"
echo "um@$UM:5065" >>"$WORK/worker.csv"
echo "um@$UM:5067" >>"$WORK/worker.csv"
agent um-worker2 um1 5067 "$WORK/a.wav" "$T;answermode=auto" 30100-30198
answer um-worker um1
answer um-worker2 um1
spawn um1 umservice sipp -nostdin -sf redirect.xml -inf worker.csv -t t1 -i $UM -p 5060
listening um1 5060
listening um1 5065
listening um1 5067
record um-redirect
step "pbx1 calls um1, is sent from 5060 to 5065" pbx1 "protocol=sip transport=tcp sip.status=302 redirect=10.20.2.15:5065 path=2010.um.phone media=pcmu" \
    $(call pbx-tcp 6 "sip:um@$UM:5060")
step "pbx1 calls again, the worker is now on 5067" pbx1 "protocol=sip transport=tcp sip.status=302 redirect=10.20.2.15:5067 path=2010.um.phone media=pcmu" \
    $(call pbx-tcp 4 "sip:um@$UM:5060")
take um-redirect

# 3. Hold (a=inactive, 0.0.0.0), a re-INVITE to another port, hold by a real agent
agent pbx-ctl pbx2 5060 "$WORK/a.wav" "$T"
answer pbx-ctl pbx2
listening pbx2 5060
record um-hold
redirected um1 um-worker
answer um-worker um1
listening um1 5065
step "pbx1 holds: inactive, then 0.0.0.0" pbx1 "protocol=sip hold=inactive,0.0.0.0" $SIPP -t t1 -sf hold.xml -i 10.20.5.10 -p 5070 -mp 21000 $UM:5065
step "pbx1 moves its media to another port" pbx1 "protocol=sip reinvite=21100->21110" $SIPP -t t1 -sf moveport.xml -i 10.20.5.10 -p 5071 -mp 21100 $UM:5065
step "pbx2 calls, holds, resumes" pbx2 "protocol=sip hold=sendonly" \
    $PY "$STANDIN/baresipctl.py" "dial=sip:um@$UM:5065" 2.5 hold 2 resume 2 hangup 0.5
take um-hold

# 4. SRTP: keys in the SDP, by DTLS, and SIP inside TLS
agent um-srtp um1 5065 "$WORK/b.wav" "$T;answermode=auto;mediaenc=srtp-mand" 30000-30098
agent um-dtls um2 5065 "$WORK/b.wav" "$T;answermode=auto;mediaenc=dtls_srtp" 30000-30098
agent pbx-srtp pbx1 5060 "$WORK/a.wav" "$T;mediaenc=srtp-mand"
agent pbx-dtls pbx1 5060 "$WORK/a.wav" "$T;mediaenc=dtls_srtp"
record um-srtp
redirected um1 um-worker
redirected um2 um-other
answer um-srtp um1
answer um-dtls um2
listening um1 5065
listening um2 5065
step "pbx1 calls um1, SRTP with keys in the SDP" pbx1 "protocol=sip transport=tcp media=srtp key=sdes" $(call pbx-srtp 5 "sip:um@$UM:5065")
step "pbx1 calls um2, SRTP with DTLS" pbx1 "protocol=sip transport=tcp media=srtp key=dtls" $(call pbx-dtls 5 "sip:um@10.20.2.25:5065")
quiet um1
agent um-tls um1 5060 "$WORK/b.wav" ";transport=tls>;regint=0;audio_codecs=pcmu;answermode=auto;mediaenc=srtp-mand" 30000-30098
agent pbx-tls pbx1 5060 "$WORK/a.wav" ";transport=tls>;regint=0;audio_codecs=pcmu;mediaenc=srtp-mand"
answer um-tls um1
listening um1 5061
step "pbx1 calls um1, SIP inside TLS, SRTP" pbx1 "encryption=tls port=5061 media=srtp sdp=unseen" $(call pbx-tls 5 "sip:um@$UM:5061")
take um-srtp

# 5. An agent behind NAT: the SDP names 192.168.77.10, the media comes from 10.20.0.1
agent phone2 phone2 5060 "$WORK/a.wav" "$N"
record um-nat
redirected um1 um-worker
redirected um2 um-other
answer um-udp um1
spawn um2 echo sipp -nostdin -sn uas -rtp_echo -i 10.20.2.25 -p 5060 -mp 31000
sleep 1.5
step "phone2 calls um1 through NAT, one way" phone2 "protocol=sip nat=yes sdp=192.168.77.10 media=one-way" $(call phone2 5 "sip:um@$UM")
step "phone2 calls um2 through NAT, which answers to where the media comes from" phone2 "protocol=sip nat=yes sdp=192.168.77.10 media=both" \
    $(call phone2 5 "sip:um@10.20.2.25")
take um-nat

# 6. Two calls at once with the same ports on different hosts
agent pbx-b pbx2 5060 "$WORK/b.wav" "$N" 20000-20002
agent pbx-a pbx1 5060 "$WORK/a.wav" "$N" 20000-20002
agent um-a um1 5060 "$WORK/b.wav" "$N;answermode=auto" 30000-30002
agent um-b um2 5060 "$WORK/a.wav" "$N;answermode=auto" 30000-30002
record um-twice
redirected um1 um-worker
redirected um2 um-other
answer um-a um1
answer um-b um2
sleep 1.5
spawn pbx2 second $(call pbx-b 6 "sip:um@10.20.2.25")
step "pbx1 calls um1 while pbx2 calls um2, both 20000 to 30000" pbx1 "protocol=sip media=pcmu same-ports=yes" $(call pbx-a 6 "sip:um@$UM")
sleep 1
take um-twice

# 7. A bad network: sipp plays media with losses, a burst, jitter, swapped and doubled packets; um1 itself loses 5 % of what it sends
record um-loss
redirected um1 um-worker
answer um-udp um1
sleep 1.5
in_ um1 nft -f - <<EOC
table ip l {
 chain out {
  type filter hook output priority 0;
  ip protocol udp udp sport 30000-30098 numgen random mod 100 < 5 drop
 }
}
EOC
step "pbx1 calls um1 over a bad network" pbx1 "protocol=sip media=pcmu quality=bad" $SIPP -sf bad.xml -i 10.20.5.10 -p 5072 -mp 22000 $UM:5060
take um-loss
[ -z "$FAILED" ] || exit 1
