// Package capturetest compiles text to capture files, so that a test shows its packets.
//
// A line holds one statement. Empty lines and text after a # outside quotes are ignored.
// A line that begins with white space continues the previous one.
//
//	start 2026-01-02T09:14:03Z             time of the first packet; the default is 2026-01-01T00:00:00Z
//	link raw                               ethernet (default), raw, sll, sll2, null or loop
//	snap 96                                cuts all frames that follow
//	host mb1 10.0.0.5                      a name for an address
//	host dc1 2001:db8::1
//	handshake 10.0.0.1:1050 > mb1:135      SYN, SYN-ACK, ACK
//	tcp 10.0.0.1:1050 > mb1:135 "EHLO there\r\n" hex(05 00 0b 03) zero(1400)
//	tcp mb1:135 > 10.0.0.1:1050 A          an acknowledgement
//	fin 10.0.0.1:1050 > mb1:135            FIN, FIN, ACK
//	udp [2001:db8::7]:1051 > dc1:53 @query.bin vlan=10.20
//	icmp 10.0.0.254 > 10.0.0.1 prohibited tcp 10.0.0.1:1051 > mb1:443
//	raw hex(ffffffffffff 020000000001 0806 0001)
//
// A statement can begin with its time: "+0.010" and "+10ms" are 10 ms after the previous
// packet, and "@2.5" is 2.5 s after the start. Without a time, a packet comes 1 ms after
// the previous one. Frames are written in the order of their lines, whatever their times.
// The word "lost" before a statement (after its time) counts the packet as sent but does
// not write it, so the sequence numbers of later packets leave a gap.
//
// # Payload
//
// A payload consists of any number of parts: "text" as a quoted Go string, hex(...) with
// optional spaces, zero(n) for n zero bytes, and @file for the content of a file beside
// the text (see CompileFS).
//
// Functions generate common payloads. Words in brackets are optional. INTERFACE is a
// short name (emsmdb) or UUID/MAJOR.MINOR. SECURITY is ntlm, netlogon, kerberos or
// kerberos/SERVICE, and a level (connect, call, packet, integrity, privacy).
//
//	rpc-bind(INTERFACE [call N] [SECURITY])   rpc-bind-ack(SECONDARY-ADDRESS [rejected] [call N] [SECURITY])
//	rpc-auth3([call N] SECURITY [v1])         rpc-request(OPNUM [call N] [SECURITY])   rpc-response([call N] [SECURITY])
//	epm-map(INTERFACE [call N])               epm-mapped(INTERFACE PORT[/udp|/http] [call N])
//	epm-lookup([call N])                      epm-found(INTERFACE PORT ANNOTATION [call N])
//	epm-map-dg(INTERFACE)                     epm-mapped-dg(INTERFACE PORT)            over UDP
//	tls-client-hello([NAME] [VERSION])        tls-server-hello([VERSION] [rc4] [mutual])
//	tls-client-done([VERSION] [certificate])  tls-server-done([VERSION])               tls-data(BYTES [VERSION])
//	ntlm(negotiate|challenge|v1|v2 [base64])
//	ldap-bind(simple|MECHANISM)               ldap-bound()   ldap-sealed()   ldap-search(BASE)
//	smb-negotiate()                           smb-negotiated()
//	smb-setup(negotiate|v1|v2)                smb-setup-answer(challenge|done)
//	smb-connect(SHARE)                        smb-connected(disk|pipe)
//	smb-open(NAME)                            smb-opened()
//	smb-pipe-bind(INTERFACE [SECURITY])       smb-pipe-bound(SECONDARY-ADDRESS [SECURITY])
//	krb-tgs-req(SERVICE [tcp])                krb-tgs-rep(SERVICE [tcp])
//
// The default call of an RPC PDU is 1 for binds and 2 for others.
//
// # TCP
//
// Flags are letters: S, F, R, P, A, U, E, C. The default is PA for a segment with payload
// and A for one without. Sequence numbers are kept for each direction. The side that
// sends first starts at 1000, and the other side at 5000. A SYN uses one number, whether
// or not the text lists the SYN, so the first bytes are at 1001 and 5001. A SYN without
// seq= repeats the first sequence number; one with seq= starts anew. Acknowledgements
// cover everything sent so far.
//
// # ICMP
//
// The two addresses are followed by type and code, such as "3/13", or by one of
// prohibited, port-unreachable, host-unreachable, time-exceeded, which have the right
// numbers for IPv4 or IPv6. Then follows the quoted flow, in the direction of the packet
// that caused the error.
//
// # Options
//
//	seq=N ack=N win=N   of TCP
//	mss=N               the payload in segments of N bytes, all at the same time
//	vlan=10.20          802.1Q tags, outermost first; with two tags the outer is 802.1ad
//	frag=N              IP fragments of N bytes each (a multiple of 8)
//	snap=N              cuts this frame
//	times=N             the same statement N times
//	ttl=N id=N          of IP; id also identifies IPv6 fragments
package capturetest
