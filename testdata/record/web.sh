#!/bin/bash
# Records web.pcapng: Exchange's virtual directories behind TLS, behind an offloading proxy, and in clear.
. "$(dirname "$0")/lib.sh"
OUT=${1:?output folder}
packages iproute2 ethtool tcpdump tshark wireshark-common samba samba-dsdb-modules samba-vfs-modules samba-ad-provision winbind \
    krb5-user python3-impacket python3-gssapi nginx-light curl openssl

network
host dc1 10.20.1.10 dc,gc,dns
host cas1 10.20.2.12 cas
host cas2 10.20.2.22 cas
host cas4 10.20.2.42 cas
host mb1 10.20.2.11 mailbox
host fe3 10.20.2.32 cas@2016
host be3 10.20.2.31 mailbox@2016
host lb1 10.20.2.50 lb
host admin1 10.20.3.30 admin
host client1 10.20.4.41 client
host client2 10.20.4.42 client
host inet2 198.51.100.80 internet
names
domain_controller
service_account cas1 HTTP/mail.$DNSDOMAIN HTTP/cas1.$DNSDOMAIN
service_account cas2 HTTP/cas2.$DNSDOMAIN
start_domain_controller
# The public names of the organisation, for clients that ask nobody.
for n in client1 client2 admin1 inet2; do
    echo "10.20.2.12 mail.$DNSDOMAIN autodiscover.$DNSDOMAIN" >>"/etc/netns/$NS-$n/hosts"
    echo "10.20.2.50 webmail.$DNSDOMAIN" >>"/etc/netns/$NS-$n/hosts"
done

# An authority of the organisation and a certificate from it for the public names.
openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj "/O=Corp/CN=Corp Root" -keyout "$WORK/ca.key" -out "$WORK/ca.crt" 2>/dev/null
leaf() { # leaf NAME SUBJECT SAN
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$WORK/$1.key" -out "$WORK/$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\n' "$3" >"$WORK/$1.ext"
    openssl x509 -req -in "$WORK/$1.csr" -CA "$WORK/ca.crt" -CAkey "$WORK/ca.key" -CAcreateserial -days 825 -sha256 \
        -extfile "$WORK/$1.ext" -out "$WORK/$1.crt" 2>/dev/null
}
leaf mail "/O=Corp/CN=mail.$DNSDOMAIN" "DNS:mail.$DNSDOMAIN,DNS:autodiscover.$DNSDOMAIN,DNS:cas1.$DNSDOMAIN"
leaf webmail "/O=Corp/CN=webmail.$DNSDOMAIN" "DNS:webmail.$DNSDOMAIN"
leaf phone "/O=Corp/CN=alice" "email:alice@corp.example"
certificate fe3

# web HOST: nginx in front. PROXY is where requests go, NAME the certificate's name.
web() {
    local h=$1 proxy=$2 cert=$3 d=$WORK/nginx-$1
    mkdir -p "$d"
    chmod 777 "$d"
    cat >"$d/nginx.conf" <<EOC
daemon off;
worker_processes 1;
pid $d/pid;
error_log $d/error.log;
events { worker_connections 128; }
http {
    access_log off;
    server_tokens off;
    client_body_temp_path $d/body;
    proxy_temp_path $d/proxy;
    fastcgi_temp_path $d/fastcgi;
    uwsgi_temp_path $d/uwsgi;
    scgi_temp_path $d/scgi;
    ssl_certificate $WORK/$cert.crt;
    ssl_certificate_key $WORK/$cert.key;
    ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_ciphers ALL:@SECLEVEL=0;
    ssl_session_cache shared:s:1m;
    ssl_client_certificate $WORK/ca.crt;
    upstream backend {
        server $proxy;
        keepalive 4;
    }
    server {
        listen $(address "$h"):80;
        return 301 https://\$host\$request_uri;
    }
    server {
        listen $(address "$h"):443 ssl http2;
        server_name _;
        location / {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$host;
            proxy_set_header X-Forwarded-For \$remote_addr;
            proxy_pass_header Server;
            proxy_buffering off;
            proxy_request_buffering off;
            client_max_body_size 0;
            proxy_read_timeout 3s;
        }
    }
    server {
        listen $(address "$h"):443 ssl;
        server_name cas1.$DNSDOMAIN;
        ssl_verify_client on;
        location / {
            proxy_pass http://backend;
            proxy_pass_header Server;
        }
    }
}
EOC
    spawn "$h" "nginx-$h" nginx -c "$d/nginx.conf" -e "$d/error.log"
}
S="$PY $STANDIN/webserver.py"
KRB5_KTNAME=$WORK/cas1.keytab spawn cas1 iis-cas1 $S cas1 127.0.0.1 8080 2010
KRB5_KTNAME=$WORK/cas2.keytab spawn cas2 iis-cas2 $S cas2 10.20.2.22 80 2010
KRB5_KTNAME=$WORK/cas2.keytab spawn cas2 iis-cas2-8080 $S cas2 10.20.2.22 8080 2010
spawn be3 iis-be3 $S be3 10.20.2.31 81 2016be
web cas1 127.0.0.1:8080 mail
web lb1 10.20.2.22:80 webmail
web fe3 10.20.2.31:81 fe3
spawn cas4 ssh $PY "$STANDIN/sshbanner.py" 10.20.2.42 443
spawn mb1 ncacn $PY "$STANDIN/ncacnhttp.py" 10.20.2.11 6001
for h in cas1 lb1 fe3 cas4; do listening $h 443; done
listening cas2 80
listening be3 81
listening mb1 6001

# What the programs of the time call themselves.
OUTLOOK="Microsoft Office/14.0 (Windows NT 6.1; Microsoft Outlook 14.0.7113; Pro)"
MOBILE="Apple-iPhone3C1/902.176"
BROWSER="Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko"
C="curl -sS -k -m 20 -o /dev/null -w %{http_code}\n --http1.1"
C2="curl -sS -k -m 20 -o /dev/null -w %{http_code}\n --http2"
U="alice:Pa55word.alice"
M=https://mail.$DNSDOMAIN
P=http://cas2.$DNSDOMAIN
W="$PY $STANDIN/webclient.py"
SOAP='<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'

record web
login client1 alice Pa55word.alice
login admin1 administrator $ADMINPW
# Behind TLS: only the handshake can be read.
step "client1 to cas1: 80, redirected to https" client1 "protocol=http http.status=301 path=2010.cas.owa finding=none" \
    $C -A "$BROWSER" http://mail.$DNSDOMAIN/owa
step "client1 to cas1: OWA, TLS 1.2, no ALPN" client1 "encryption=tls tls.version=1.2 tls.server_name=mail.corp.example" \
    $C --no-alpn --tls-max 1.2 -A "$BROWSER" $M/owa/auth/logon.aspx
step "client1 to cas1: OWA, TLS 1.3, h2" client1 "encryption=tls tls.version=1.3 tls.alpn=h2 tls.server_name=mail.corp.example" \
    $C2 -A "$BROWSER" $M/owa/auth/logon.aspx $M/ecp/
step "client1 to cas1: Autodiscover, TLS 1.2, Basic inside" client1 "encryption=tls tls.version=1.2 tls.server_name=autodiscover.corp.example" \
    $C --tls-max 1.2 -A "$OUTLOOK" -u "$U" -d "$SOAP" https://autodiscover.$DNSDOMAIN/Autodiscover/Autodiscover.xml
step "client1 to cas1: EWS, TLS 1.3, NTLM inside" client1 "encryption=tls tls.version=1.3" \
    $C --ntlm -u "CORP\\$U" -A "$OUTLOOK" -d "$SOAP" $M/EWS/Exchange.asmx
step "client1 to cas1: EWS, TLS 1.3, Kerberos inside" client1 "encryption=tls tls.version=1.3 kerberos.service=HTTP/mail.corp.example" \
    env KRB5CCNAME="$WORK/cc.alice" $C --negotiate -u : -A "$OUTLOOK" -d "$SOAP" $M/EWS/Exchange.asmx
step "inet2 to cas1: ActiveSync, TLS 1.2, client certificate" inet2 "encryption=tls tls.version=1.2 tls.client_certificate=given tls.server_name=cas1.corp.example" \
    $C --tls-max 1.2 --cert "$WORK/phone.crt" --key "$WORK/phone.key" -A "$MOBILE" -u "$U" -X OPTIONS \
    "https://cas1.$DNSDOMAIN/Microsoft-Server-ActiveSync?Cmd=Ping"
step "client2 to cas1: TLS 1.0" client2 "encryption=tls tls.version=1.0 finding=weak-encryption" \
    $C --tlsv1.0 --tls-max 1.0 --ciphers 'ALL:@SECLEVEL=0' -A "$BROWSER" $M/owa/
step "client2 to cas1: TLS 1.2 session, then resumed" client2 "encryption=tls tls.resumed=second" bash -c "
    printf 'GET /owa/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >$WORK/req
    (cat $WORK/req; sleep 1) | openssl s_client -connect 10.20.2.12:443 -servername mail.$DNSDOMAIN -tls1_2 -sess_out $WORK/sess -quiet
    (cat $WORK/req; sleep 1) | openssl s_client -connect 10.20.2.12:443 -servername mail.$DNSDOMAIN -tls1_2 -sess_in $WORK/sess -quiet; true"
step "client2 to cas1: TLS 1.3 session, then resumed" client2 "encryption=tls tls.resumed=second" bash -c "
    (cat $WORK/req; sleep 1) | openssl s_client -connect 10.20.2.12:443 -servername mail.$DNSDOMAIN -tls1_3 -sess_out $WORK/sess3 -quiet
    (cat $WORK/req; sleep 1) | openssl s_client -connect 10.20.2.12:443 -servername mail.$DNSDOMAIN -tls1_3 -sess_in $WORK/sess3 -quiet; true"
# Behind the offloading proxy: TLS to lb1, clear HTTP from lb1 to cas2.
for x in owa/auth/logon.aspx ecp/ EWS/Exchange.asmx; do
    step "client1 through lb1 to cas2: /$x" client1 "lb=offloaded http.path=/$x" $C -A "$BROWSER" https://webmail.$DNSDOMAIN/$x
done
step "inet2 through lb1 to cas2: ActiveSync, Basic" inet2 "lb=offloaded auth=basic http.path=/Microsoft-Server-ActiveSync" \
    $C -A "$MOBILE" -u "$U" --data-binary x "https://webmail.$DNSDOMAIN/Microsoft-Server-ActiveSync?Cmd=Sync&User=alice&DeviceId=A1B2&DeviceType=iPhone"
step "client1 through lb1 to cas2: Outlook Anywhere" client1 "lb=offloaded http.path=/rpc/rpcproxy.dll auth=basic" \
    $W rpch 10.20.2.50 443 webmail.$DNSDOMAIN
# In clear, straight to cas2.
step "client2 to cas2: OWA pages, keep-alive" client2 "protocol=http http.path=/owa/" $C -A "$BROWSER" $P/ $P/owa/ $P/owa/auth/logon.aspx
step "client2 to cas2: OWA, forms posted in clear" client2 "protocol=http auth=forms encryption=none finding=cleartext" \
    $C -A "$BROWSER" -d "destination=https%3a%2f%2fmail%2fowa%2f&username=bob&password=Pa55word.bob" $P/owa/auth.owa
step "client2 to cas2: EWS, NTLM" client2 "protocol=http auth=ntlm http.path=/EWS/Exchange.asmx encryption=none" \
    $C --ntlm -u "CORP\\bob:Pa55word.bob" -A "ExchangeServicesClient/14.03.0032.000" -d "$SOAP" $P/EWS/Exchange.asmx
step "client1 to cas2: EWS, Negotiate with Kerberos" client1 "protocol=http auth=kerberos http.path=/EWS/Exchange.asmx kerberos.service=HTTP/cas2.corp.example encryption=none" \
    env KRB5CCNAME="$WORK/cc.alice" $C --negotiate -u : -A "$OUTLOOK" -d "$SOAP" $P/EWS/Exchange.asmx
step "client2 to cas2: Autodiscover, Basic in clear" client2 "protocol=http auth=basic encryption=none finding=cleartext http.path=/Autodiscover/Autodiscover.xml" \
    $C -A "$OUTLOOK" -u "bob:Pa55word.bob" -d "$SOAP" $P/Autodiscover/Autodiscover.xml
step "client2 to cas2: ActiveSync, Basic in clear" client2 "protocol=http auth=basic http.path=/Microsoft-Server-ActiveSync" \
    $C -A "$MOBILE" -u "bob:Pa55word.bob" -X OPTIONS "$P/Microsoft-Server-ActiveSync?Cmd=Options&User=bob&DeviceId=C3D4"
step "client2 to cas2: OAB, NTLM" client2 "protocol=http auth=ntlm http.path=/OAB" \
    $C --ntlm -u "CORP\\bob:Pa55word.bob" -A "Microsoft BITS/7.5" $P/OAB/0b6e4b4e-1d2c-4d5e-8f90-123456789abc/oab.xml
step "admin1 to cas2: PowerShell over HTTP, Kerberos" admin1 "protocol=http auth=kerberos http.path=/PowerShell" \
    env KRB5CCNAME="$WORK/cc.administrator" $C --negotiate -u : -A "Microsoft WinRM Client" -d "$SOAP" "$P/PowerShell?PSVersion=2.0"
step "client2 to cas2: Outlook Anywhere in clear" client2 "protocol=http http.method=RPC_IN_DATA auth=basic encryption=none" $W rpch 10.20.2.22 80 cas2.$DNSDOMAIN
step "client2 to cas2: pipelined requests and a request in pieces" client2 "protocol=http http.path=/owa/" $W pipeline 10.20.2.22 80 cas2.$DNSDOMAIN
step "client2 to cas2: HTTP on 8080" client2 "protocol=http port=8080" $C -A "$BROWSER" $P:8080/owa/auth/logon.aspx
step "client2 to cas2: /public, redirected to /owa" client2 "protocol=http http.path=/public" $C -A "$BROWSER" $P/public $P/nowhere/else
step "cas1 to mb1: the RPC proxy's connections to 6001" cas1 "protocol=dcerpc rpc.interface=emsmdb transport=ncacn_http" $W proxy 10.20.2.11 6001
step "client2 to cas4: SSH on 443" client2 "protocol=ssh finding=protocol-mismatch" $PY "$STANDIN/sshbanner.py" --client 10.20.2.42 443
# A 2016 server: front end with TLS, back end on 81.
step "client1 through fe3 to be3: MAPI over HTTP" client1 "backend=81 http.path=/mapi/emsmdb" \
    $C --ntlm -u "CORP\\$U" -A "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.4266; Pro; MAPI)" -H "Content-Type: application/mapi-http" \
    -H "X-RequestType: Connect" -H "X-RequestId: {2EF33C39-49C8-421C-B876-CDF7F2AC3AA0}:1" --data-binary x "https://fe3.$DNSDOMAIN/mapi/emsmdb/?MailboxId=x@corp.example"
step "client1 through fe3 to be3: OWA" client1 "backend=81 http.path=/owa/" $C -A "$BROWSER" https://fe3.$DNSDOMAIN/owa/auth/logon.aspx
TRUTH_DECODE="tcp.port==6001,dcerpc" finish web "$OUT"
