# Shared by the recording scripts: hosts are network namespaces on one bridge, which is recorded
# as a SPAN port would see it. Source it; it ends what it started when the script exits.

set -eu
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STANDIN=$HERE/standin
PY=/usr/bin/python3
NS=exspan
NETWORKS="10.20.3.0/24=admin 10.20.4.0/24=client"
REALM=CORP.EXAMPLE
DOMAIN=CORP
DNSDOMAIN=corp.example
ADMINPW=Pa55word.admin
DC=10.20.1.10
# What a program of a host sees of its own: its name, and a /run/samba that no other host's Samba uses.
AS_HOST='hostname "$0"; [ ! -d /run/samba ] || mount -t tmpfs tmpfs /run/samba; exec "$@"'
WORK=$(mktemp -d "${TMPDIR:-/tmp}/exspan-record.XXXXXX")
chmod 755 "$WORK"
STEPS=$WORK/steps.tsv
HOSTS=$WORK/hosts.tsv
: >"$STEPS"
: >"$HOSTS"

export KRB5_CONFIG=$WORK/krb5.conf

packages() {
    local missing=()
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >&2
}

cleanup() {
    local ns
    trap - EXIT INT TERM
    for ns in $(ip netns list | awk '{print $1}' | grep "^$NS-" || true); do
        ip netns pids "$ns" | xargs -r kill 2>/dev/null || true
    done
    sleep 0.5
    for ns in $(ip netns list | awk '{print $1}' | grep "^$NS-" || true); do
        ip netns pids "$ns" | xargs -r kill -9 2>/dev/null || true
        ip netns del "$ns"
        rm -rf "/etc/netns/$ns"
    done
    rmdir /etc/netns 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}

# network: the switch, a bridge in a namespace of its own.
network() {
    ip netns list | grep -q "^$NS-" && { echo "namespaces $NS-* exist already: another recording runs, or one was cut off" >&2; exit 1; }
    trap cleanup EXIT
    trap 'exit 1' INT TERM
    ip netns add $NS-switch
    ip -n $NS-switch link set lo up
    ip -n $NS-switch link add br0 type bridge
    ip netns exec $NS-switch sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    ip -n $NS-switch link set br0 promisc on up
}

address() { awk -F'\t' -v h="$1" '$1==h{print $2}' "$HOSTS"; }

# certificate HOST: the self-signed certificate that Exchange makes for itself: the short name as subject,
# short and full name as alternative names, RSA 2048, five years. All of them are in trusted.crt.
certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 1826 -subj "/CN=$1" -addext "subjectAltName=DNS:$1,DNS:$1.$DNSDOMAIN" \
        -addext "extendedKeyUsage=serverAuth,clientAuth" -keyout "$WORK/$1.key" -out "$WORK/$1.crt" 2>/dev/null
    chmod 644 "$WORK/$1.key"
    cat "$WORK/$1.crt" >>"$WORK/trusted.crt"
}

mac() { # a MAC address from an IPv4 address: the same in every run
    local IFS=.
    set -- $1
    printf '02:00:%02x:%02x:%02x:%02x' "$1" "$2" "$3" "$4"
}

# host NAME ADDRESS ROLES [SWITCH]: a host on the switch; ROLES are those of the site file, "cas@2016" for another version. Offloads are off, so that frames have their wire size.
host() {
    local n=$NS-$1 sw=${4:-$NS-switch}
    ip netns add "$n"
    ip -n "$n" link set lo up
    ip netns exec "$n" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
        net.ipv4.ip_local_port_range="49152 65535" net.ipv4.tcp_timestamps=0
    ip -n "$n" link add eth0 address "$(mac "$2")" type veth peer name "p-$1" netns "$sw"
    ip -n "$sw" link set "p-$1" master br0 up
    ip -n "$n" addr add "$2/16" dev eth0
    ip -n "$n" link set eth0 up
    ip netns exec "$n" ethtool -K eth0 tso off gso off gro off tx off rx off >/dev/null 2>&1
    ip netns exec "$sw" ethtool -K "p-$1" tso off gso off gro off tx off rx off >/dev/null 2>&1
    mkdir -p "/etc/netns/$n"
    printf 'search %s\nnameserver %s\noptions attempts:1 timeout:3\n' $DNSDOMAIN $DC >"/etc/netns/$n/resolv.conf"
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$HOSTS"
}

# client_conf: configuration of Samba's client programs, their state in the working folder
client_conf() {
    mkdir -p "$WORK/smbc"
    cat >"$WORK/client.conf" <<EOS
[global]
 workgroup = $DOMAIN
 realm = $REALM
 private dir = $WORK/smbc
 state directory = $WORK/smbc
 cache directory = $WORK/smbc
 lock directory = $WORK/smbc
 pid directory = $WORK/smbc
 ncalrpc dir = $WORK/smbc
 client min protocol = ${CLIENT_MIN:-SMB2}
 load printers = no
EOS
}

names() { # every host knows every other by /etc/hosts too; DNS is asked where a step wants to be seen asking
    local n m a
    # Hosts outside 10.20.0.0/16 are on the same wire all the same.
    awk -F'\t' '$2 !~ /^10\.20\./{print $1, $2}' "$HOSTS" | while read -r n a; do
        ip -n "$NS-$n" route add 10.20.0.0/16 dev eth0
        for m in $(awk -F'\t' '$2 ~ /^10\.20\./{print $1}' "$HOSTS"); do
            ip -n "$NS-$m" route replace "${a%.*}.0/24" dev eth0
        done
    done
    for n in $(cut -f1 "$HOSTS"); do
        { echo "127.0.0.1 localhost"; awk -F'\t' -v d=$DNSDOMAIN '{print $2, $1 "." d, $1}' "$HOSTS"; } >"/etc/netns/$NS-$n/hosts"
    done
    cat >"$WORK/krb5.conf" <<EOK
[libdefaults]
 default_realm = $REALM
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 forwardable = true
[realms]
 $REALM = {
  kdc = $DC
 }
[domain_realm]
 .$DNSDOMAIN = $REALM
 $DNSDOMAIN = $REALM
EOK
    client_conf
}

in_() { # in_ HOST COMMAND...: run there, under that host's name
    local h=$1
    shift
    ip netns exec "$NS-$h" unshare --uts sh -c "$AS_HOST" "$h" "$@"
}

# spawn HOST LOG COMMAND...: run there in the background until the script ends
spawn() {
    local h=$1 log=$WORK/$2.log
    shift 2
    # A session of its own: smbd signals its whole process group when it ends.
    setsid ip netns exec "$NS-$h" unshare --uts sh -c "$AS_HOST" "$h" "$@" >"$log" 2>&1 </dev/null &
}

listening() { # listening HOST PORT [SECONDS]: wait for a TCP listener
    local i
    for i in $(seq $((10 * ${3:-30}))); do
        in_ "$1" ss -Hltn "sport = :$2" | grep -q . && return 0
        sleep 0.1
    done
    echo "$1: nothing listens on $2" >&2
    return 1
}

# step NAME HOST FACTS COMMAND...: one scripted action, remembered with its time, so that its flows can be told.
# FACTS is what the script knows to be true of the flows of this step: "key=value ..." or "-".
# A command may fail when its failure is the point: put "! " before NAME.
# login HOST USER PASSWORD: kinit as a step; the tickets go to $WORK/cc.USER
login() {
    step "$1: kinit $2" "$1" "protocol=kerberos auth=kerberos kerberos.service=krbtgt/$REALM" \
        bash -c "echo $3 | KRB5CCNAME=$WORK/cc.$2 kinit $2"
}

step() {
    local name=$1 h=$2 facts=$3 t0 rc=0 may=
    shift 3
    case $name in '! '*) may=1 name=${name#! } ;; esac
    t0=$(date +%s.%N)
    timeout 60 ip netns exec "$NS-$h" unshare --uts sh -c "$AS_HOST" "$h" "$@" \
        >"$WORK/step.out" 2>&1 </dev/null || rc=$?
    sleep 0.3
    printf '%s\t%s\t%s\t%s\t%s\n' "$t0" "$(date +%s.%N)" "$h" "$name" "$facts" >>"$STEPS"
    if [ $rc -ne 0 ] && [ -z "$may" ]; then
        echo "step '$name' on $h failed ($rc):" >&2
        tail -5 "$WORK/step.out" >&2
        FAILED="${FAILED:-} $name"
    fi
    [ -z "${VERBOSE:-}" ] || { echo "== $name ($rc)"; tail -3 "$WORK/step.out"; } >&2
}

# background HOST NAME FACTS: a session that was already running when the recording began
background() { printf '0\t0\t%s\t%s\t%s\n' "$1" "$2" "$3" >>"$STEPS"; }

record() { # record NAME: start recording the bridge
    ip netns exec $NS-switch tcpdump -i br0 -s0 -U -w "$WORK/$1.pcap" >"$WORK/tcpdump.log" 2>&1 &
    local i
    for i in $(seq 50); do
        grep -q 'listening on' "$WORK/tcpdump.log" && break
        sleep 0.1
    done
    RECORDING=$!
    sleep 0.3
}

# finish NAME OUTDIR: stop recording and write NAME.pcapng, NAME.truth.json and NAME.site.yaml.
# NETWORKS="CIDR=ROLE ...": the networks of the site file.
finish() {
    sleep 1
    ip netns pids $NS-switch | xargs -r kill -INT
    wait "$RECORDING" || true
    mkdir -p "$2"
    editcap -F pcapng "$WORK/$1.pcap" "$2/$1.pcapng"
    $PY "$HERE/truth.py" "$2/$1.pcapng" "$STEPS" "$HOSTS" >"$2/$1.truth.json"
    {
        echo "# The network of $1.pcapng."
        echo 'exchange: "2010"'
        echo 'servers:'
        awk -F'\t' '$3 != "" && $3 != "client" && $3 != "admin" && $3 != "internet" {
            split($3, r, "@"); gsub(",", ", ", r[1])
            printf "  - {name: %s, addresses: [%s], roles: [%s]%s}\n", $1, $2, r[1], r[2] ? ", exchange: \"" r[2] "\"" : ""}' "$HOSTS"
        echo 'networks:'
        for n in $NETWORKS; do echo "  - {cidr: ${n%=*}, role: ${n#*=}}"; done
    } >"$2/$1.site.yaml"
    [ -z "${FAILED:-}" ] || { echo "failed steps:$FAILED" >&2; return 1; }
}

# domain_controller: a real Samba AD domain controller on host dc1, with the accounts of ntlmserver.py
domain_controller() {
    local d=$WORK/dc u p i
    in_ dc1 samba-tool domain provision --use-rfc2307 --realm=$REALM --domain=$DOMAIN --server-role=dc \
        --dns-backend=SAMBA_INTERNAL --adminpass=$ADMINPW --targetdir="$d" --host-name=dc1 --host-ip=$DC \
        --option="dns forwarder = " "$@" >"$WORK/provision.log" 2>&1
    CONF=$d/etc/smb.conf
    # smbd needs no share beyond sysvol and netlogon; spoolss is not wanted on the wire.
    sed -i "/^\[global\]/a\\
	disable spoolss = yes\\
	load printers = no\\
	log level = 1\\
	ntlm auth = ntlmv2-only\\
${DC_OPTIONS:-}" "$CONF"
    samba-tool domain passwordsettings set --complexity=off --min-pwd-age=0 --max-pwd-age=0 -s "$CONF" >/dev/null
    $PY -c "import sys; sys.path.insert(0, '$STANDIN'); import ntlmserver
for u, p in ntlmserver.USERS.items(): print(u, p)" | while read -r u p; do
        [ "$u" = administrator ] || samba-tool user create "$u" "$p" -s "$CONF" >/dev/null
    done
}

# service_account HOST SPN...: computer account HOST$ with those principals, and its keytab in $WORK/HOST.keytab
service_account() {
    local h=$1 s
    shift
    samba-tool computer create "$h" -s "$CONF" >/dev/null
    # 24 = AES128 and AES256; the keys come with the next password.
    $PY - "$CONF" "$h" <<'EOP'
import sys
import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm(sys.argv[1])
db = SamDB(session_info=system_session(), lp=lp)
m = ldb.Message(ldb.Dn(db, "CN=%s,CN=Computers,%s" % (sys.argv[2], db.domain_dn())))
m["e"] = ldb.MessageElement("24", ldb.FLAG_MOD_REPLACE, "msDS-SupportedEncryptionTypes")
db.modify(m)
EOP
    samba-tool user setpassword "$h\$" --newpassword="Pa55word.$h.machine" -s "$CONF" >/dev/null
    for s in "$@"; do
        samba-tool spn add "$s" "$h\$" -s "$CONF" >/dev/null
    done
    for s in "$@"; do
        samba-tool domain exportkeytab "$WORK/$h.keytab" --principal="$s" -s "$CONF" >/dev/null 2>&1
    done
}

start_domain_controller() {
    spawn dc1 samba samba -s "$CONF" -i --debug-stdout
    local p
    for p in 53 88 135 389 445 3268; do listening dc1 $p 60; done
    sleep 4
}

dns_record() { # dns_record HOST: its address in the domain's DNS
    in_ dc1 samba-tool dns add $DC $DNSDOMAIN "$1" A "$(address "$1")" \
        -U "administrator%$ADMINPW" -s "$CONF" >/dev/null
}
