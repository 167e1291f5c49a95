#!/bin/bash
# Records directory.pcapng: LDAP, Kerberos, RPC security levels, SMB and .NET framings.
DC_OPTIONS='	ldap server require strong auth = no\
	allow dcerpc auth level connect = yes\
	allow dcerpc auth level connect:samr = yes\
	server min protocol = NT1\
	smb ports = 445 139\
	tls enabled = yes'
. "$(dirname "$0")/lib.sh"
OUT=${1:?output folder}
packages iproute2 ethtool tcpdump tshark wireshark-common samba samba-dsdb-modules samba-vfs-modules samba-ad-provision winbind \
    samba-common-bin smbclient ldap-utils libsasl2-modules-gssapi-mit krb5-user python3-impacket python3-gssapi

network
host dc1 10.20.1.10 dc,gc,dns
host mb1 10.20.2.11 mailbox
host mb2 10.20.2.16 mailbox
host cas1 10.20.2.12 cas
host hub1 10.20.2.13 hub
host admin1 10.20.3.30 admin
host client1 10.20.4.41 client
names
domain_controller
service_account mb1 exchangeMDB/mb1.$DNSDOMAIN exchangeMDB/mb1
# The container that Exchange's servers read their configuration from.
$PY - "$CONF" <<'EOP'
import sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
db = SamDB(session_info=system_session(), lp=LoadParm(sys.argv[1]))
dn = "CN=Microsoft Exchange,CN=Services," + str(db.get_config_basedn())
for d in (dn, "CN=Corp," + dn):
    db.add({"dn": d, "objectClass": "container"})
EOP
start_domain_controller
listening dc1 636
listening dc1 3269
listening dc1 139

# mb1: a real Samba file server that stands for the Windows of a mailbox server: admin shares, winreg, srvsvc.
D=$WORK/smb-mb1
mkdir -p "$D/share" "$D/private"
chmod 755 "$D"
chmod 777 "$D/share"
for n in log one two; do head -c 20000 /dev/zero >"$D/share/$n.txt"; done
cat >"$D/smb.conf" <<EOC
[global]
 workgroup = $DOMAIN
 netbios name = MB1
 server role = standalone server
 server min protocol = NT1
 smb ports = 445 139
 interfaces = 10.20.2.11/16
 bind interfaces only = yes
 private dir = $D/private
 state directory = $D
 cache directory = $D
 lock directory = $D
 pid directory = $D
 ncalrpc dir = $D
 log file = $D/log
 passdb backend = tdbsam
 map to guest = never
 guest account = nobody
 disable spoolss = yes
 load printers = no
 admin users = root
 registry shares = no
[ADMIN\$]
 path = $D/share
[E\$]
 path = $D/share
 read only = no
[logs]
 path = $D/share
EOC
printf '%s\n%s\n' $ADMINPW $ADMINPW | smbpasswd -c "$D/smb.conf" -s -a root >/dev/null
spawn mb1 smbd smbd -F --no-process-group --debug-stdout -s "$D/smb.conf"
for f in nmf:808 nns:64327; do
    spawn mb1 nmf-${f%:*} $PY "$STANDIN/nmf.py" serve mb1 10.20.2.11 ${f#*:} ${f%:*}
    listening mb1 ${f#*:}
done
listening mb1 445

MB=10.20.2.11
L="ldapsearch -LLL -H ldap://dc1.$DNSDOMAIN"
CFG="CN=Microsoft Exchange,CN=Services,CN=Configuration,DC=corp,DC=example"
export LDAPTLS_REQCERT=never
SIMPLE="-x -D administrator@corp.example -w $ADMINPW"
cc() { echo "env KRB5CCNAME=$WORK/cc.$1"; }
cat >"$WORK/krb5-tcp.conf" <<EOC
$(sed 's/^ rdns = false/&\n udp_preference_limit = 1/' "$WORK/krb5.conf")
EOC

record directory
# Kerberos
login mb1 svc-mb Pa55word.mb
step "mb1: kinit over TCP" mb1 "protocol=kerberos transport=tcp" \
    bash -c "echo Pa55word.mb | KRB5_CONFIG=$WORK/krb5-tcp.conf KRB5CCNAME=$WORK/cc.tcp kinit svc-mb"
login client1 alice Pa55word.alice
login hub1 svc-hub Pa55word.hub
step "client1: ticket for exchangeMDB/mb1" client1 "protocol=kerberos kerberos.service=exchangeMDB/mb1.corp.example" \
    $(cc alice) kvno exchangeMDB/mb1.$DNSDOMAIN exchangeMDB/mb1
step "! client1: ticket for a service nobody knows" client1 "protocol=kerberos kerberos.service=exchangeMDB/gone.corp.example kerberos.error=7" \
    $(cc alice) kvno exchangeMDB/gone.$DNSDOMAIN
step "! client1: unknown user" client1 "protocol=kerberos kerberos.error=6" bash -c "echo x | kinit -c $WORK/cc.no nobody"
step "! client1: wrong password" client1 "protocol=kerberos kerberos.error=24" bash -c "echo wrong | kinit -c $WORK/cc.no alice"
# LDAP
step "mb1 to dc1: anonymous rootDSE" mb1 "protocol=ldap ldap.bind=simple auth=anonymous" $L -x -b "" -s base defaultNamingContext
step "mb1 to dc1: CLDAP ping" mb1 "protocol=cldap" net ads lookup -S dc1.$DNSDOMAIN -s "$WORK/client.conf"
step "mb1 to dc1: simple bind in clear" mb1 "protocol=ldap ldap.bind=simple auth=basic encryption=none finding=cleartext" \
    $L $SIMPLE -b "$CFG" "(objectClass=*)" cn
step "mb1 to dc1: GSSAPI, sealed" mb1 "protocol=ldap ldap.bind=sasl auth=kerberos encryption=sasl-sealed path=2010.mailbox.ad" \
    $(cc svc-mb) $L -Y GSSAPI -b "$CFG" "(objectClass=*)" cn
step "mb1 to dc1: GSSAPI, signed only" mb1 "protocol=ldap ldap.bind=sasl auth=kerberos encryption=sasl-signed" \
    $(cc svc-mb) $L -Y GSSAPI -O minssf=1,maxssf=1 -b "$CFG" "(objectClass=*)" cn
step "mb1 to dc1: GSSAPI, then plain" mb1 "protocol=ldap ldap.bind=sasl auth=kerberos encryption=none finding=cleartext" \
    $(cc svc-mb) $L -Y GSSAPI -O maxssf=0 -b "$CFG" "(objectClass=*)" cn
step "hub1 to dc1: GSS-SPNEGO with Kerberos, sealed" hub1 "protocol=ldap ldap.bind=sasl auth=kerberos encryption=sasl-sealed path=2010.transport.hub-ad" \
    $(cc svc-hub) samba-tool user show alice --attributes=cn -H ldap://dc1.$DNSDOMAIN -s "$WORK/client.conf" --use-kerberos=required \
    --use-krb5-ccache="$WORK/cc.svc-hub" --option="client ldap sasl wrapping=seal"
for w in seal sign plain; do
    step "hub1 to dc1: GSS-SPNEGO with NTLM, $w" hub1 "protocol=ldap ldap.bind=sasl auth=ntlm wrapping=$w" \
        samba-tool user show alice --attributes=cn -H ldap://dc1.$DNSDOMAIN -s "$WORK/client.conf" --use-kerberos=off \
        -U 'CORP\svc-hub%Pa55word.hub' --option="client ldap sasl wrapping=$w"
done
step "mb1 to dc1: StartTLS, simple bind inside" mb1 "protocol=ldap encryption=tls ldap.extended=1.3.6.1.4.1.1466.20037" \
    $L -ZZ $SIMPLE -b "$CFG" "(objectClass=*)" cn
step "mb1 to dc1: LDAPS" mb1 "encryption=tls port=636" \
    ldapsearch -LLL -H ldaps://dc1.$DNSDOMAIN $SIMPLE -b "$CFG" "(objectClass=*)" cn
step "mb1 to dc1: global catalogue in clear" mb1 "protocol=ldap port=3268 ldap.bind=simple encryption=none" \
    ldapsearch -LLL -H ldap://dc1.$DNSDOMAIN:3268 $SIMPLE -b "DC=corp,DC=example" "(sAMAccountName=alice)" mail
step "mb1 to dc1: global catalogue, GSSAPI sealed" mb1 "protocol=ldap port=3268 auth=kerberos encryption=sasl-sealed path=2010.mailbox.ad" \
    $(cc svc-mb) ldapsearch -LLL -Y GSSAPI -H ldap://dc1.$DNSDOMAIN:3268 -b "DC=corp,DC=example" "(sAMAccountName=alice)" mail
step "mb1 to dc1: global catalogue with TLS 1.2" mb1 "encryption=tls tls.version=1.2 port=3269" \
    env LDAPTLS_CIPHER_SUITE=NORMAL:-VERS-TLS1.3 ldapsearch -LLL -H ldaps://dc1.$DNSDOMAIN:3269 $SIMPLE -b "DC=corp,DC=example" "(sAMAccountName=alice)" mail
# RPC at each level, NTLM and Kerberos, on the ports that dc1's mapper names
option() { case $1 in integrity) echo sign ;; privacy) echo seal ;; *) echo "$1" ;; esac; }
for m in ntlm krb5 spnego; do
    for l in connect integrity privacy; do
        cred="-U CORP\\administrator%$ADMINPW --use-kerberos=off" cache=none
        auth=ntlm
        [ $m != krb5 ] || { cred="--use-kerberos=required --use-krb5-ccache=$WORK/cc.svc-hub" auth=kerberos cache=svc-hub; }
        step "hub1 to dc1: samr, $m, $l" hub1 "rpc.interface=samr auth=$auth rpc.auth_level=$l" \
            $(cc $cache) rpcclient -s "$WORK/client.conf" $cred "ncacn_ip_tcp:dc1.$DNSDOMAIN[$m,$(option $l)]" -c enumdomains
    done
done
# SMB
S="-s $WORK/client.conf -U root%$ADMINPW"
step "admin1 to mb1: admin share, SMB3, signed" admin1 "protocol=smb auth=ntlm smb.signing=yes smb.share=ADMIN\$ path=2010.mailbox.admin-smb" \
    smbclient $S --client-protection=sign "//mb1/ADMIN\$" -c 'ls; get log.txt /dev/null'
step "admin1 to mb1: E\$, SMB3, encrypted" admin1 "protocol=smb auth=ntlm encryption=smb3" \
    smbclient $S --client-protection=encrypt "//mb1/E\$" -c 'ls; get one.txt /dev/null'
step "admin1 to mb1: SMB 2.02" admin1 "protocol=smb auth=ntlm smb.dialect=0x0202" smbclient $S --option="client min protocol=SMB2_02" -m SMB2_02 "//mb1/logs" -c 'ls'
step "admin1 to mb1: SMB 1" admin1 "protocol=smb auth=ntlm smb.version=1" \
    smbclient $S --option="client min protocol=NT1" -m NT1 "//mb1/logs" -c 'ls'
step "admin1 to mb1: SMB over NetBIOS, port 139" admin1 "protocol=smb auth=ntlm port=139" smbclient $S -p 139 "//mb1/logs" -c 'ls'
step "admin1 to mb1: remote registry" admin1 "protocol=smb rpc.interface=winreg smb.pipe=winreg path=2010.mailbox.remote-registry" \
    net rpc registry enumerate HKLM -S mb1 $S
step "admin1 to mb1: shares and server information" admin1 "protocol=smb rpc.interface=srvsvc smb.pipe=srvsvc" \
    rpcclient $S ncacn_np:mb1 -c 'srvinfo;netshareenumall'
step "! admin1 to mb1: winreg sealed inside the pipe, the call refused" admin1 "protocol=smb rpc.interface=winreg rpc.auth_level=privacy" \
    rpcclient $S "ncacn_np:mb1[ntlm,seal]" -c 'winreg_enumkey HKLM'
step "client1 to dc1: SMB3, Kerberos, encrypted" client1 "protocol=smb auth=kerberos encryption=smb3" \
    $(cc alice) smbclient -s "$WORK/client.conf" --use-kerberos=required --use-krb5-ccache="$WORK/cc.alice" --client-protection=encrypt \
    //dc1.$DNSDOMAIN/sysvol -c ls
step "client1 to dc1: the mapper asked through its pipe" client1 "protocol=smb rpc.interface=epmapper smb.pipe=epmapper" \
    $PY "$STANDIN/pipemap.py" $DC
# .NET framings
step "cas1 to mb1: net.tcp, negotiate, protected" cas1 "protocol=nmf auth=ntlm encryption=net.tcp nmf.uri=net.tcp://mb1.corp.example/Microsoft.Exchange.MailboxReplicationService" \
    env NMF_USER=svc-cas $PY "$STANDIN/nmf.py" call $MB 808 nmf protect net.tcp://mb1.$DNSDOMAIN/Microsoft.Exchange.MailboxReplicationService
step "cas1 to mb1: net.tcp without security" cas1 "protocol=nmf encryption=none" \
    $PY "$STANDIN/nmf.py" call $MB 808 nmf plain net.tcp://mb1.$DNSDOMAIN/Microsoft.Exchange.MailboxReplicationService
step "mb2 to mb1: log shipping, protected" mb2 "protocol=nns auth=ntlm encryption=nns-protected path=2010.mailbox.log-shipping" \
    $PY "$STANDIN/nmf.py" call $MB 64327 nns protect
step "mb2 to mb1: log shipping, not protected" mb2 "protocol=nns auth=ntlm encryption=none path=2010.mailbox.log-shipping" \
    $PY "$STANDIN/nmf.py" call $MB 64327 nns plain
step "! mb2 to mb1: log shipping, refused" mb2 "protocol=nns nns=error" env NMF_USER=nobody $PY "$STANDIN/nmf.py" call $MB 64327 nns protect
finish directory "$OUT"
