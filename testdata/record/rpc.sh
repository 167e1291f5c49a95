#!/bin/bash
# Records rpc.pcapng: MAPI stand-ins behind their endpoint mapper, a real domain controller, and their clients.
. "$(dirname "$0")/lib.sh"
OUT=${1:?output folder}
packages iproute2 ethtool nftables tcpdump tshark wireshark-common samba samba-dsdb-modules samba-vfs-modules \
    samba-ad-provision winbind smbclient ldap-utils libsasl2-modules-gssapi-mit krb5-user bind9-dnsutils \
    python3-impacket python3-gssapi

network
host dc1 10.20.1.10 dc,gc,dns
host mb1 10.20.2.11 mailbox
host cas1 10.20.2.12 cas
host hub1 10.20.2.13 hub
host admin1 10.20.3.30 admin
host client1 10.20.4.41 client
host client2 10.20.4.42 client
host client3 10.20.4.43 client
names
domain_controller
service_account mb1 exchangeMDB/mb1 exchangeMDB/mb1.$DNSDOMAIN
service_account cas1 exchangeMDB/cas1.$DNSDOMAIN exchangeRFR/cas1.$DNSDOMAIN exchangeAB/cas1.$DNSDOMAIN
start_domain_controller
for h in mb1 cas1 hub1; do dns_record $h; done

cat >"$WORK/mb1.json" <<EOC
{"host": "mb1", "address": "10.20.2.11", "keytab": "$WORK/mb1.keytab", "endpoints": [
 {"service": "emsmdb", "port": 46861, "towers": ["tcp", "np", "http"], "http_port": 6001, "annotation": "Microsoft Exchange RPC Client Access"}]}
EOC
cat >"$WORK/cas1.json" <<EOC
{"host": "cas1", "address": "10.20.2.12", "keytab": "$WORK/cas1.keytab", "endpoints": [
 {"service": "emsmdb", "port": 6137, "towers": ["http", "tcp"], "http_port": 6001, "annotation": "Microsoft Exchange RPC Client Access"},
 {"service": "asyncemsmdb", "port": 6137, "towers": ["tcp"], "annotation": "Microsoft Exchange RPC Client Access"},
 {"service": "nspi", "port": 6143, "towers": ["tcp", "http"], "http_port": 6004, "annotation": "MS Exchange Directory NSP Interface"},
 {"service": "rfr", "port": 6143, "towers": ["tcp", "http"], "http_port": 6004, "annotation": "MS Exchange Directory RFR Interface"}]}
EOC
cat >"$WORK/hub1.json" <<EOC
{"host": "hub1", "address": "10.20.2.13", "endpoints": [
 {"service": "undocumented", "port": 17520, "towers": ["tcp"], "annotation": "stand-in without a documented interface"}]}
EOC
for h in mb1 cas1 hub1; do
    spawn $h rpcserver-$h $PY "$STANDIN/rpcserver.py" "$WORK/$h.json"
    listening $h 135
done
spawn mb1 ssh $PY "$STANDIN/sshbanner.py" 10.20.2.11 22
listening mb1 22
# A firewall on mb1: it rejects remote desktop from client2 the way a router does, and swallows 5985 from client3.
in_ mb1 nft -f - <<EOC
table inet f {
 chain input {
  type filter hook input priority 0;
  ip saddr 10.20.4.42 tcp dport 3389 reject with icmp type admin-prohibited
  ip saddr 10.20.4.43 tcp dport 5985 drop
 }
}
EOC
C="$PY $STANDIN/rpcclient.py"
MB=10.20.2.11 CAS=10.20.2.12 HUB=10.20.2.13

# A MAPI session that is older than the recording: its bind is never seen.
spawn client3 old $C $MB emsmdb --port 46861 --user carol --hold "$WORK/go"
for i in $(seq 100); do [ -e "$WORK/go.ready" ] && break; sleep 0.1; done
sleep 1

record rpc
touch "$WORK/go"
background client3 "MAPI session older than the recording" "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy server=$MB:46861 bind=unseen"
sleep 1.5
step "client2 uses the port nobody asked for yet" client2 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy learned=later" \
    $C $MB emsmdb --port 46861 --user bob
step "domain controller located by DNS" client1 "protocol=dns" dig +noall +answer _ldap._tcp.dc._msdcs.$DNSDOMAIN SRV
step "mailbox host located by DNS" client1 "protocol=dns" dig +noall +answer mb1.$DNSDOMAIN A
login client1 alice Pa55word.alice
login client2 bob Pa55word.bob
login hub1 svc-hub Pa55word.hub
login mb1 svc-mb Pa55word.mb
step "client1 to mb1: map, EMSMDB, NTLM privacy" client1 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy path=2010.mailbox.mapi" \
    $C $MB emsmdb
step "client1 to cas1: map, RFR, NTLM privacy" client1 "rpc.interface=rfr auth=ntlm rpc.auth_level=privacy path=2010.static.address-book" \
    $C $CAS rfr
step "client1 to cas1: map, NSPI, NTLM privacy" client1 "rpc.interface=nspi auth=ntlm rpc.auth_level=privacy path=2010.static.address-book" \
    $C $CAS nspi
step "client1 to cas1: map, EMSMDB, Kerberos privacy" client1 \
    "rpc.interface=emsmdb auth=kerberos rpc.auth_level=privacy kerberos.service=exchangeMDB/cas1.corp.example path=2010.static.rpc-client-access" \
    env KRB5CCNAME="$WORK/cc.alice" $C $CAS emsmdb --auth kerberos --spn exchangeMDB/cas1.$DNSDOMAIN
step "client2 to mb1: learned port, no mapper asked" client2 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy path=2010.mailbox.mapi" \
    $C $MB emsmdb --port 46861 --user bob --calls 6
step "client2 to cas1: EMSMDB, NTLM integrity" client2 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=integrity" \
    $C $CAS emsmdb --level 5 --user bob --towers 1
step "client2 to cas1: EMSMDB, NTLM connect" client2 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=connect" \
    $C $CAS emsmdb --level 2 --user bob --port 6137
step "client2 to cas1: NSPI, anonymous" client2 "rpc.interface=nspi auth=none rpc.auth_level=none" \
    $C $CAS nspi --auth anonymous --port 6143
step "client2 to cas1: NSPI, Kerberos integrity" client2 "rpc.interface=nspi auth=kerberos rpc.auth_level=integrity kerberos.service=exchangeAB/cas1.corp.example" \
    env KRB5CCNAME="$WORK/cc.bob" $C $CAS nspi --auth kerberos --level 5 --user bob --spn exchangeAB/cas1.$DNSDOMAIN
step "client1 to mb1: service that the mapper does not know" client1 "protocol=dcerpc epm.status=not-registered" \
    bash -c "! $C $MB nspi"
step "hub1 to mb1: map, EMSMDB, Kerberos privacy" hub1 \
    "rpc.interface=emsmdb auth=kerberos rpc.auth_level=privacy kerberos.service=exchangeMDB/mb1.corp.example path=2010.transport.hub-mailbox-mapi" \
    env KRB5CCNAME="$WORK/cc.svc-hub" $C $MB emsmdb --auth kerberos --user svc-hub --spn exchangeMDB/mb1.$DNSDOMAIN
step "mb1 to hub1: map, an interface nobody documents, NTLM privacy" mb1 \
    "rpc.uuid=5b0e7f4c-3d2a-4c1e-9d6f-0a1b2c3d4e5f auth=ntlm rpc.auth_level=privacy" \
    $C $HUB undocumented --user svc-mb
step "admin1 lists the mapper of cas1" admin1 "rpc.interface=epmapper opnum=ept_lookup" $C $CAS - --lookup
for s in netlogon drsuapi samr; do
    auth=ntlm
    [ $s != netlogon ] || auth=anonymous
    step "client1 to dc1: map, $s, $auth" client1 "rpc.interface=$s auth=$auth" $C $DC $s --auth $auth
done
step "client1 to dc1: map, lsarpc, NTLM privacy; the call is refused with a fault" client1 "rpc.interface=lsarpc auth=ntlm" \
    bash -c "! $C $DC lsarpc"
for s in drsuapi samr; do
    step "mb1 to dc1: map, $s, Kerberos privacy" mb1 "rpc.interface=$s auth=kerberos rpc.auth_level=privacy path=2010.mailbox.ad" \
        env KRB5CCNAME="$WORK/cc.svc-mb" $C $DC $s --auth kerberos --user svc-mb --spn host/dc1.$DNSDOMAIN
done
step "mb1 to dc1: LDAP, GSSAPI sealed" mb1 "protocol=ldap ldap.bind=sasl auth=kerberos encryption=sasl-sealed path=2010.mailbox.ad" \
    env KRB5CCNAME="$WORK/cc.svc-mb" ldapsearch -LLL -Y GSSAPI -H ldap://dc1.$DNSDOMAIN \
    -b "CN=Services,CN=Configuration,DC=corp,DC=example" -s one "(objectClass=*)" cn
step "mb1 to dc1: global catalogue, GSSAPI sealed" mb1 "protocol=ldap ldap.bind=sasl auth=kerberos encryption=sasl-sealed path=2010.mailbox.ad" \
    env KRB5CCNAME="$WORK/cc.svc-mb" ldapsearch -LLL -Y GSSAPI -H ldap://dc1.$DNSDOMAIN:3268 -b "DC=corp,DC=example" "(sAMAccountName=alice)" cn
step "client1 to dc1: SMB, NTLM, sysvol" client1 "protocol=smb auth=ntlm" \
    smbclient -s "$WORK/client.conf" -U 'CORP\alice%Pa55word.alice' //$DC/sysvol -c 'ls'
step "client1 to dc1: SMB, Kerberos, netlogon" client1 "protocol=smb auth=kerberos" \
    env KRB5CCNAME="$WORK/cc.alice" smbclient -s "$WORK/client.conf" --use-kerberos=required --use-krb5-ccache="$WORK/cc.alice" \
    //dc1.$DNSDOMAIN/netlogon -c 'ls'
step "client1 to dc1: lsarpc and samr by rpcclient, SPNEGO, privacy" client1 "auth=ntlm rpc.auth_level=privacy" \
    rpcclient -s "$WORK/client.conf" -U 'CORP\alice%Pa55word.alice' "ncacn_ip_tcp:$DC[seal]" -c 'lsaquery;enumdomains'
step "! client1 to mb1: refused" client1 "outcome=refused" timeout 3 bash -c "exec 3<>/dev/tcp/$MB/6002"
step "! client2 to mb1: prohibited" client2 "outcome=prohibited" timeout 3 bash -c "exec 3<>/dev/tcp/$MB/3389"
step "! client3 to mb1: unanswered" client3 "outcome=unanswered" timeout 8 bash -c "exec 3<>/dev/tcp/$MB/5985"
step "client1 to mb1: SSH, which no data path explains" client1 "protocol=ssh status=unexpected" $PY "$STANDIN/sshbanner.py" --client $MB 22
step "client1 to mb1: EMSMDB once more" client1 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy path=2010.mailbox.mapi" $C $MB emsmdb
finish rpc "$OUT"
