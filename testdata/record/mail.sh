#!/bin/bash
# Records mail.pcapng: SMTP, IMAP4 and POP3 by postfix, dovecot and stand-ins with Exchange 2010's wording.
. "$(dirname "$0")/lib.sh"
OUT=${1:?output folder}
packages iproute2 ethtool tcpdump tshark wireshark-common samba samba-dsdb-modules samba-vfs-modules samba-ad-provision winbind \
    krb5-user bind9-dnsutils python3-impacket python3-gssapi postfix dovecot-imapd dovecot-pop3d swaks libnet-ssleay-perl \
    libio-socket-ssl-perl openssl

network
host dc1 10.20.1.10 dc,gc,dns
host hub1 10.20.2.13 hub
host hub2 10.20.2.23 hub
host hub3 10.20.2.33 hub
host hub4 10.20.2.43 hub
host edge1 10.20.2.14 edge
host cas1 10.20.2.12 cas
host cas2 10.20.2.22 cas
host client1 10.20.4.41 client
host client2 10.20.4.42 client
host inet1 198.51.100.25 internet
names
domain_controller
service_account hub1 SMTPSVC/hub1.$DNSDOMAIN
start_domain_controller
for h in hub1 edge1 cas1; do dns_record $h; done
in_ dc1 samba-tool dns add $DC $DNSDOMAIN @ MX "edge1.$DNSDOMAIN 10" -U "administrator%$ADMINPW" -s "$CONF" >/dev/null
for h in hub1 hub2 hub3 edge1 cas1 cas2 inet1; do certificate $h; done

for h in hub1 edge1 cas1; do
    KRB5_KTNAME=$WORK/hub1.keytab spawn $h mail-$h $PY "$STANDIN/mailserver.py" $h "$(address $h)" \
        "$WORK/$h.crt" "$WORK/$h.key" "$WORK/trusted.crt" "${h%1}"
done

# dovecot: IMAP4 and POP3 on cas2, and the password check of postfix on hub3 and hub4.
# dovecot HOST TLS: its configuration and process
start_dovecot() {
    local d=$WORK/dovecot-$1
    mkdir -p "$d/mail"
    chmod 777 "$d/mail"
    chmod 755 "$d"
    printf 'alice:{PLAIN}Pa55word.alice\nbob:{PLAIN}Pa55word.bob\n' >"$d/users"
    cat >"$d/dovecot.conf" <<EOC
base_dir = $d/run
log_path = /dev/stderr
protocols = imap pop3
listen = $(address "$1")
ssl = $2
ssl_cert = <$WORK/$1.crt
ssl_key = <$WORK/$1.key
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:$d/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = $d/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=$d/mail
}
# One login process for all connections: it alone can resume its sessions.
service imap-login {
  service_count = 0
  process_limit = 1
}
service auth {
  unix_listener $d/auth {
    mode = 0666
  }
}
EOC
    spawn "$1" dovecot-"$1" dovecot -c "$d/dovecot.conf" -F
}
certificate hub4
start_dovecot cas2 yes
start_dovecot hub3 yes
start_dovecot hub4 no

# start_postfix HOST SETTING...: an instance of its own, without chroot
start_postfix() {
    local h=$1 d=$WORK/postfix-$1 s
    shift
    mkdir -p "$d/conf" "$d/queue" "$d/data"
    chmod 755 "$d" "$d/conf"
    chown postfix "$d/data"
    : >"$d/conf/main.cf"
    sed -E 's/^([a-z]+ +(inet|unix|fifo|pass) +[-yn] +[-yn] +)[-yn]/\1n/' /usr/share/postfix/master.cf.dist >"$d/conf/master.cf"
    sed -i '/^#/d' "$d/conf/master.cf"
    cat >>"$d/conf/master.cf" <<EOC
submission inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
smtps inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
EOC
    for s in "queue_directory=$d/queue" "data_directory=$d/data" "myhostname=$h.$DNSDOMAIN" "mydomain=$DNSDOMAIN" \
        "mydestination=$DNSDOMAIN, $h.$DNSDOMAIN" "inet_interfaces=$(address "$h")" "inet_protocols=ipv4" "maillog_file=/dev/stdout" \
        "smtpd_banner=\$myhostname ESMTP" "mynetworks=127.0.0.0/8" "local_transport=discard" "local_recipient_maps=" \
        "compatibility_level=3.6" "alias_maps=" "smtpd_sasl_type=dovecot" "smtpd_sasl_path=$WORK/dovecot-$h/auth" \
        "smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,reject_unauth_destination" \
        "smtpd_tls_cert_file=$WORK/$h.crt" "smtpd_tls_key_file=$WORK/$h.key" "$@"; do
        postconf -c "$d/conf" -e "$s"
    done
    spawn "$h" "postfix-$h" postfix -c "$d/conf" start-fg
}
start_postfix hub3 smtpd_tls_security_level=may smtpd_tls_auth_only=yes
start_postfix hub4 smtpd_tls_security_level=none smtpd_tls_auth_only=no
start_postfix inet1 smtp_tls_security_level=may smtp_tls_CAfile="$WORK/trusted.crt" \
    "transport_maps=inline:{corp.example=smtp:[10.20.2.14]:25}" "mydestination=" "relay_domains=$DNSDOMAIN" "mynetworks=198.51.100.0/24"
for h in hub1 edge1 hub3 hub4; do listening $h 25; done
for p in 110 143 993 995; do listening cas1 $p && listening cas2 $p; done
listening inet1 25
listening hub3 465
C="$PY $STANDIN/mailclient.py"
H1=10.20.2.13 H3=10.20.2.33 H4=10.20.2.43 E1=10.20.2.14 C1=10.20.2.12 C2=10.20.2.22

record mail
login hub2 svc-hub Pa55word.hub
step "MX looked up" hub1 "protocol=dns" dig +noall +answer $DNSDOMAIN MX
step "hub2 to hub1: X-ANONYMOUSTLS, Kerberos inside" hub2 \
    "protocol=smtp smtp.tls=x-anonymoustls encryption=tls tls.version=1.2 kerberos.service=SMTPSVC/hub1.corp.example path=2010.transport.hub-hub exchange.version=2010" \
    env KRB5CCNAME="$WORK/cc.svc-hub" $C smtp $H1 25 --tls X-ANONYMOUSTLS --exps GSSAPI --spn SMTPSVC@hub1.$DNSDOMAIN --bdat
step "hub2 to hub1: TLS disabled, X-EXPS GSSAPI in clear" hub2 \
    "protocol=smtp auth=kerberos encryption=none finding=cleartext path=2010.transport.hub-hub exchange.version=2010" \
    env KRB5CCNAME="$WORK/cc.svc-hub" $C smtp $H1 25 --exps GSSAPI --spn SMTPSVC@hub1.$DNSDOMAIN --bdat --xexch50
step "hub2 to hub1: TLS disabled, X-EXPS NTLM in clear" hub2 "protocol=smtp auth=ntlm encryption=none path=2010.transport.hub-hub" \
    $C smtp $H1 25 --exps NTLM --user svc-hub
step "hub1 to edge1: X-ANONYMOUSTLS, client certificate (direct trust)" hub1 \
    "protocol=smtp smtp.tls=x-anonymoustls encryption=tls tls.client_certificate=given path=2010.transport.hub-edge" \
    $C smtp $E1 25 --tls X-ANONYMOUSTLS --cert "$WORK/hub1.crt" --key "$WORK/hub1.key" --exps EXTERNAL --bdat
step "hub1 to edge1: X-ANONYMOUSTLS, TLS 1.3, client certificate" hub1 \
    "protocol=smtp smtp.tls=x-anonymoustls encryption=tls tls.version=1.3 path=2010.transport.hub-edge" \
    $C smtp $E1 25 --tls X-ANONYMOUSTLS --max 1.3 --cert "$WORK/hub1.crt" --key "$WORK/hub1.key" --exps EXTERNAL --bdat
step "edge1 to hub1: X-ANONYMOUSTLS" edge1 "protocol=smtp smtp.tls=x-anonymoustls encryption=tls path=2010.transport.edge-hub" \
    $C smtp $H1 25 --tls X-ANONYMOUSTLS --cert "$WORK/edge1.crt" --key "$WORK/edge1.key" --bdat
step "internet to edge1: postfix delivers, STARTTLS" inet1 "protocol=smtp smtp.tls=starttls encryption=tls path=2010.diagram.third-party-smtp" \
    bash -c "swaks --server 198.51.100.25 --from a@elsewhere.example --to bob@corp.example --ehlo inet1 >/dev/null; sleep 4"
step "internet to edge1: in clear" inet1 "protocol=smtp auth=none encryption=none path=2010.diagram.third-party-smtp" $C smtp $E1 25
step "client1 to hub1: 587, STARTTLS, NTLM inside" client1 "protocol=smtp smtp.tls=starttls encryption=tls path=2010.transport.client-hub-smtp" \
    $C smtp $H1 587 --tls STARTTLS --auth NTLM
step "client1 to hub1: 587, NTLM in clear" client1 "protocol=smtp auth=ntlm encryption=none path=2010.transport.client-hub-smtp" \
    $C smtp $H1 587 --auth NTLM
step "client1 to hub1: 587, STARTTLS, TLS 1.0" client1 "protocol=smtp smtp.tls=starttls encryption=tls tls.version=1.0 finding=weak-encryption" \
    $C smtp $H1 587 --tls STARTTLS --max 1.0 --auth LOGIN
step "client1 to hub3: postfix 587, STARTTLS, PLAIN inside, TLS 1.3" client1 "protocol=smtp smtp.tls=starttls encryption=tls tls.version=1.3" \
    $C smtp $H3 587 --tls STARTTLS --auth PLAIN --max 1.3
step "client1 to hub3: postfix 587 by swaks, STARTTLS, LOGIN, TLS 1.2" client1 "protocol=smtp smtp.tls=starttls encryption=tls tls.version=1.2" \
    swaks --server $H3 --port 587 --tls --tls-protocol tlsv1_2 --auth LOGIN --auth-user alice --auth-password Pa55word.alice \
    --from alice@corp.example --to bob@corp.example
step "client1 to hub3: TLS from the first byte on 465" client1 "protocol=smtp encryption=tls port=465" \
    $C smtp $H3 465 --tls implicit --auth LOGIN
step "client1 to hub3: 25, STARTTLS resumed, TLS 1.2" client1 "protocol=smtp smtp.tls=starttls encryption=tls tls.resumed=second" \
    $C smtp $H3 25 --tls STARTTLS --resume
step "client2 to hub4: STARTTLS refused, AUTH LOGIN in clear" client2 "protocol=smtp smtp.tls=refused auth=login encryption=none finding=cleartext" \
    $C smtp $H4 587 --tls STARTTLS --auth LOGIN --user bob
step "client2 to hub4: AUTH PLAIN in clear" client2 "protocol=smtp auth=plain encryption=none finding=cleartext" \
    $C smtp $H4 25 --auth PLAIN --user bob
step "client1 to cas2: IMAP, LOGIN in clear" client1 "protocol=imap auth=login encryption=none finding=cleartext" $C imap $C2 143
step "client1 to cas2: IMAP, AUTHENTICATE PLAIN in clear" client1 "protocol=imap auth=plain encryption=none" $C imap $C2 143 --auth plain
step "client1 to cas2: IMAP, STARTTLS, TLS 1.2" client1 "protocol=imap encryption=tls tls.version=1.2" $C imap $C2 143 --tls STARTTLS
step "client1 to cas2: IMAP, STARTTLS, TLS 1.3" client1 "protocol=imap encryption=tls tls.version=1.3" \
    $C imap $C2 143 --tls STARTTLS --max 1.3 --sni imap.$DNSDOMAIN
step "client1 to cas2: IMAPS, TLS 1.2, resumed" client1 "encryption=tls tls.version=1.2 tls.resumed=second tls.server_name=imap.corp.example" \
    $C imap $C2 993 --tls implicit --resume --sni imap.$DNSDOMAIN
step "client1 to cas2: IMAPS, TLS 1.3, resumed" client1 "encryption=tls tls.version=1.3 tls.resumed=second tls.server_name=imap.corp.example" \
    $C imap $C2 993 --tls implicit --resume --max 1.3 --sni imap.$DNSDOMAIN
step "client1 to cas2: POP3, USER and PASS in clear" client1 "protocol=pop3 auth=login encryption=none finding=cleartext" $C pop $C2 110
step "client1 to cas2: POP3, STLS" client1 "protocol=pop3 encryption=tls tls.version=1.2" $C pop $C2 110 --tls STLS
step "client1 to cas2: POP3S, TLS 1.3" client1 "encryption=tls tls.version=1.3" $C pop $C2 995 --tls implicit --max 1.3 --sni pop.$DNSDOMAIN
step "client2 to cas1: Exchange banner, IMAP, NTLM in clear" client2 "protocol=imap auth=ntlm encryption=none exchange.version=2010" \
    $C imap $C1 143 --auth ntlm --user bob
step "client2 to cas1: Exchange banner, IMAP, LOGIN in clear" client2 "protocol=imap auth=login encryption=none finding=cleartext" \
    $C imap $C1 143 --user bob
step "client2 to cas1: Exchange banner, IMAP, STARTTLS" client2 "protocol=imap encryption=tls" $C imap $C1 143 --tls STARTTLS --user bob
step "client2 to cas1: IMAPS" client2 "encryption=tls" $C imap $C1 993 --tls implicit --user bob --sni mail.$DNSDOMAIN
step "client2 to cas1: Exchange banner, POP3, NTLM in clear" client2 "protocol=pop3 auth=ntlm encryption=none" \
    $C pop $C1 110 --auth ntlm --user bob
step "client2 to cas1: Exchange banner, POP3, STLS" client2 "protocol=pop3 encryption=tls" $C pop $C1 110 --tls STLS --user bob
step "client2 to cas1: POP3S" client2 "encryption=tls" $C pop $C1 995 --tls implicit --user bob
finish mail "$OUT"
