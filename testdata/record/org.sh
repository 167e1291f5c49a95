#!/bin/bash
# Records org.pcapng: an organisation in which everything goes as the port reference says.
. "$(dirname "$0")/lib.sh"
OUT=${1:?output folder}
packages iproute2 ethtool tcpdump tshark wireshark-common samba samba-dsdb-modules samba-vfs-modules samba-ad-provision winbind \
    smbclient ldap-utils libsasl2-modules-gssapi-mit krb5-user bind9-dnsutils python3-impacket python3-gssapi nginx-light curl openssl \
    sip-tester baresip-core

network
host dc1 10.20.1.10 dc,gc,dns
host mb1 10.20.2.11 mailbox
host mb2 10.20.2.16 mailbox
host cas1 10.20.2.12 cas
host cas2 10.20.2.22 cas
host hub1 10.20.2.13 hub
host hub2 10.20.2.23 hub
host edge1 10.20.2.14 edge
host um1 10.20.2.15 um
host pbx1 10.20.5.10 pbx
host client1 10.20.4.41 client
host client2 10.20.4.42 client
names
domain_controller
service_account mb1 exchangeMDB/mb1.$DNSDOMAIN
service_account cas1 exchangeMDB/cas1.$DNSDOMAIN exchangeRFR/cas1.$DNSDOMAIN exchangeAB/cas1.$DNSDOMAIN
service_account hub1 SMTPSVC/hub1.$DNSDOMAIN
start_domain_controller
for h in mb1 cas1 hub1; do dns_record $h; done
for h in hub1 hub2 edge1 cas1 um1; do certificate $h; done
for n in client1 client2; do echo "10.20.2.12 mail.$DNSDOMAIN" >>"/etc/netns/$NS-$n/hosts"; done

cat >"$WORK/mb1.json" <<EOC
{"host": "mb1", "address": "10.20.2.11", "keytab": "$WORK/mb1.keytab", "endpoints": [
 {"service": "emsmdb", "port": 46861, "annotation": "Microsoft Exchange RPC Client Access"}]}
EOC
cat >"$WORK/cas1.json" <<EOC
{"host": "cas1", "address": "10.20.2.12", "keytab": "$WORK/cas1.keytab", "endpoints": [
 {"service": "emsmdb", "port": 59532, "annotation": "Microsoft Exchange RPC Client Access"},
 {"service": "nspi", "port": 59533, "annotation": "MS Exchange Directory NSP Interface"},
 {"service": "rfr", "port": 59533, "annotation": "MS Exchange Directory RFR Interface"}]}
EOC
for h in mb1 cas1; do
    spawn $h rpcserver-$h $PY "$STANDIN/rpcserver.py" "$WORK/$h.json"
    listening $h 135
done
for h in hub1 edge1 cas1; do
    KRB5_KTNAME=$WORK/hub1.keytab spawn $h mail-$h $PY "$STANDIN/mailserver.py" $h "$(address $h)" \
        "$WORK/$h.crt" "$WORK/$h.key" "$WORK/trusted.crt" "${h%1}"
done
spawn mb1 nmf-nns $PY "$STANDIN/nmf.py" serve mb1 10.20.2.11 64327 nns
spawn cas2 nmf $PY "$STANDIN/nmf.py" serve cas2 10.20.2.22 808 nmf
listening cas2 808
spawn cas1 iis $PY "$STANDIN/webserver.py" cas1 127.0.0.1 8080 2010
D=$WORK/nginx
mkdir -p "$D"
chmod 777 "$D"
cat >"$D/nginx.conf" <<EOC
daemon off;
worker_processes 1;
pid $D/pid;
error_log $D/error.log;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path $D/b; proxy_temp_path $D/p; fastcgi_temp_path $D/f; uwsgi_temp_path $D/u; scgi_temp_path $D/s;
    ssl_certificate $WORK/cas1.crt;
    ssl_certificate_key $WORK/cas1.key;
    server { listen 10.20.2.12:80; return 301 https://\$host\$request_uri; }
    server {
        listen 10.20.2.12:443 ssl;
        location / { proxy_pass http://127.0.0.1:8080; proxy_set_header Host \$host; proxy_pass_header Server; }
    }
}
EOC
spawn cas1 nginx nginx -c "$D/nginx.conf" -e "$D/error.log"
echo "SEQUENTIAL" >"$WORK/worker.csv"
echo "um@10.20.2.15:5065" >>"$WORK/worker.csv"
$PY "$STANDIN/sippscenario.py" redirect x >"$WORK/redirect.xml"
for a in um1:5065:answermode=auto pbx1:5060:answermode=manual; do
    IFS=: read -r h p mode <<<"$a"
    mkdir -p "$WORK/agent-$h"
    $PY "$STANDIN/rtppcap.py" wav "$WORK/$h.wav" 20 440
    cat >"$WORK/agent-$h/config" <<EOC
poll_method epoll
sip_listen $(address $h):$p
audio_player aubridge,nil
audio_source aufile,$WORK/$h.wav
audio_alert aubridge,nil
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports 20000-20098
net_interface eth0
module_path $(dirname "$(find /usr/lib -name g711.so -path '*baresip*' | head -1)")
module g711.so
module aufile.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
EOC
    printf '<sip:%s@%s:%s;transport=tcp>;regint=0;audio_codecs=pcmu;%s\n' ${h%1} "$(address $h)" "$p" "$mode" >"$WORK/agent-$h/accounts"
    : >"$WORK/agent-$h/contacts"
done
spawn um1 worker baresip -f "$WORK/agent-um1"
spawn um1 service sipp -nostdin -sf "$WORK/redirect.xml" -inf "$WORK/worker.csv" -t t1 -i 10.20.2.15 -p 5060
listening um1 5060
listening um1 5065
listening cas1 443
listening hub1 25
listening edge1 25

C="$PY $STANDIN/rpcclient.py"
M="$PY $STANDIN/mailclient.py"
MB=10.20.2.11 CAS=10.20.2.12 HUB=10.20.2.13 EDGE=10.20.2.14
cc() { echo "env KRB5CCNAME=$WORK/cc.$1"; }
L="ldapsearch -LLL -Y GSSAPI"

record org
# Every server finds the directory, authenticates, and reads it sealed.
for x in mb1:svc-mb:mb:mailbox cas1:svc-cas:cas:cas hub1:svc-hub:hub:transport.hub um1:svc-um:um:um; do
    IFS=: read -r h user pw path <<<"$x"
    step "$h: domain controllers by DNS" "$h" "protocol=dns status=expected" dig +noall +answer _ldap._tcp.dc._msdcs.$DNSDOMAIN SRV
    login "$h" "$user" "Pa55word.$pw"
    step "$h to dc1: configuration, sealed" "$h" "protocol=ldap auth=kerberos encryption=sasl-sealed status=expected" \
        $(cc "$user") $L -H ldap://dc1.$DNSDOMAIN -b "CN=Services,CN=Configuration,DC=corp,DC=example" -s one cn
    step "$h to dc1: global catalogue, sealed" "$h" "protocol=ldap auth=kerberos encryption=sasl-sealed port=3268 status=expected" \
        $(cc "$user") $L -H ldap://dc1.$DNSDOMAIN:3268 -b "DC=corp,DC=example" "(sAMAccountName=alice)" cn
    step "$h to dc1: drsuapi, Kerberos, privacy" "$h" "rpc.interface=drsuapi auth=kerberos rpc.auth_level=privacy status=expected" \
        $(cc "$user") $C 10.20.1.10 drsuapi --auth kerberos --user "$user" --spn host/dc1.$DNSDOMAIN
done
login client1 alice Pa55word.alice
login hub2 svc-hub Pa55word.hub
# Clients
step "client1 to cas1: RFR, NSPI and EMSMDB, Kerberos, privacy" client1 "auth=kerberos rpc.auth_level=privacy status=expected" \
    $(cc alice) bash -c "$C $CAS rfr --auth kerberos --spn exchangeRFR/cas1.$DNSDOMAIN && $C $CAS nspi --auth kerberos --spn exchangeAB/cas1.$DNSDOMAIN \
    && $C $CAS emsmdb --auth kerberos --spn exchangeMDB/cas1.$DNSDOMAIN"
step "client2 to cas1: EMSMDB, NTLM, privacy" client2 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy status=expected" $C $CAS emsmdb --user bob
step "client1 to mb1: public folders, EMSMDB, Kerberos, privacy" client1 "rpc.interface=emsmdb auth=kerberos rpc.auth_level=privacy status=expected" \
    $(cc alice) $C $MB emsmdb --auth kerberos --spn exchangeMDB/mb1.$DNSDOMAIN
step "client2 to cas1: OWA, by way of 80" client2 "status=expected" \
    curl -sSkL -o /dev/null --tls-max 1.2 http://mail.$DNSDOMAIN/owa/auth/logon.aspx
step "client1 to cas1: Autodiscover and EWS" client1 "encryption=tls status=expected" \
    curl -sSk -o /dev/null --tls-max 1.2 --ntlm -u 'CORP\alice:Pa55word.alice' https://mail.$DNSDOMAIN/Autodiscover/Autodiscover.xml https://mail.$DNSDOMAIN/EWS/Exchange.asmx
step "client2 to cas1: IMAP4 and POP3 over TLS" client2 "encryption=tls status=expected" \
    bash -c "$M imap $CAS 993 --tls implicit --user bob && $M imap $CAS 143 --tls STARTTLS --user bob && $M pop $CAS 995 --tls implicit --user bob"
step "client2 to hub1: submission, STARTTLS, NTLM" client2 "protocol=smtp encryption=tls status=expected" $M smtp $HUB 587 --tls STARTTLS --auth NTLM --user bob
# Servers
step "hub2 to hub1: X-ANONYMOUSTLS, Kerberos" hub2 "protocol=smtp encryption=tls path=2010.transport.hub-hub status=expected" \
    $(cc svc-hub) $M smtp $HUB 25 --tls X-ANONYMOUSTLS --exps GSSAPI --spn SMTPSVC@hub1.$DNSDOMAIN --bdat
step "um1 to hub1: X-ANONYMOUSTLS, Kerberos" um1 "protocol=smtp encryption=tls path=2010.transport.um-hub status=expected" \
    $(cc svc-um) $M smtp $HUB 25 --tls X-ANONYMOUSTLS --exps GSSAPI --spn SMTPSVC@hub1.$DNSDOMAIN --bdat
step "hub1 to edge1 and back: direct trust" hub1 "protocol=smtp encryption=tls path=2010.transport.hub-edge status=expected" \
    $M smtp $EDGE 25 --tls X-ANONYMOUSTLS --cert "$WORK/hub1.crt" --key "$WORK/hub1.key" --exps EXTERNAL --bdat
# The stand-in asks for certificates as edge only: this is no direct trust.
step "edge1 to hub1" edge1 "protocol=smtp encryption=tls path=2010.transport.edge-hub" \
    $M smtp $HUB 25 --tls X-ANONYMOUSTLS --cert "$WORK/edge1.crt" --key "$WORK/edge1.key" --bdat
step "hub1 to mb1: delivery, EMSMDB, NTLM, privacy" hub1 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy path=2010.transport.hub-mailbox-mapi status=expected" \
    $C $MB emsmdb --user svc-hub
step "cas1 to mb1: EMSMDB, Kerberos, privacy" cas1 "rpc.interface=emsmdb auth=kerberos rpc.auth_level=privacy status=expected" \
    $(cc svc-cas) $C $MB emsmdb --auth kerberos --user svc-cas --spn exchangeMDB/mb1.$DNSDOMAIN
step "um1 to mb1: EMSMDB, NTLM, privacy" um1 "rpc.interface=emsmdb auth=ntlm rpc.auth_level=privacy path=2010.um.mailbox status=expected" \
    $C $MB emsmdb --user svc-um
step "mb2 to mb1: log shipping, protected" mb2 "protocol=nns auth=ntlm encryption=nns-protected path=2010.mailbox.log-shipping status=expected" \
    $PY "$STANDIN/nmf.py" call $MB 64327 nns protect
step "cas1 to cas2: moving mailboxes, net.tcp, protected" cas1 "protocol=nmf auth=ntlm encryption=net.tcp path=2010.cas.mrs status=expected" \
    env NMF_USER=svc-cas $PY "$STANDIN/nmf.py" call 10.20.2.22 808 nmf protect net.tcp://cas2.$DNSDOMAIN/Microsoft.Exchange.MailboxReplicationService
step "pbx1 to um1: a call, redirected" pbx1 "protocol=sip path=2010.um.phone status=expected" \
    baresip -f "$WORK/agent-pbx1" -t 4 -e "/dial sip:pbx@10.20.2.15:5060"
finish org "$OUT"
