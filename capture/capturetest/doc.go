// Package capturetest turns text into capture files, so that a test shows the
// packets it is about.
//
// One statement a line. Empty lines and what follows a # outside quotes is
// ignored; a line that begins with white space continues the one before.
//
//	start 2026-01-02T09:14:03Z             time of the first packet; 2026-01-01T00:00:00Z if not said
//	link raw                               ethernet (default), raw, sll, sll2, null or loop
//	snap 96                                cuts all frames that follow
//	host mb1 10.0.0.5                      a name for an address
//	host dc1 2001:db8::1
//
//	handshake 10.0.0.1:1050 > mb1:135      SYN, SYN-ACK, ACK
//	tcp 10.0.0.1:1050 > mb1:135 "EHLO there\r\n" hex(05 00 0b 03) zero(1400)
//	tcp mb1:135 > 10.0.0.1:1050 A          an acknowledgement
//	fin 10.0.0.1:1050 > mb1:135            FIN, FIN, ACK
//	udp [2001:db8::7]:1051 > dc1:53 @query.bin vlan=10.20
//	icmp 10.0.0.254 > 10.0.0.1 prohibited tcp 10.0.0.1:1051 > mb1:443
//	raw hex(ffffffffffff 020000000001 0806 0001)
//
// A statement can begin with its time: "+0.010" is 10 ms after the packet
// before, and so is "+10ms"; "@2.5" is 2.5 s after the start. Without it a
// packet comes 1 ms after the one before. Frames are written in the order of
// their lines, whatever their times. The word "lost" before a statement (after
// the time) counts it as sent but does not write it: the sequence numbers of
// what follows leave a gap.
//
// # Payload
//
// Any number of parts, joined: "text" as a quoted Go string, hex(...) with
// spaces as one likes, zero(n) for n zero bytes, and @file for the content of
// a file beside the text (see CompileFS).
//
// What would be unreadable as hex has a name. Words in brackets may be left
// out; INTERFACE is a short name (emsmdb) or UUID/MAJOR.MINOR, SECURITY is ntlm,
// netlogon, kerberos or kerberos/SERVICE and a level (connect, call, packet,
// integrity, privacy).
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
// A PDU of RPC has call 1 for binds and 2 for others unless it is said.
//
// # TCP
//
// Flags are letters: S, F, R, P, A, U, E, C. Without them a segment with
// payload has PA and one without has A. Sequence numbers are kept for each
// direction: the one that sends first begins at 1000, the other at 5000, and a
// SYN takes one number whether it is listed or not, so that first bytes have
// 1001 and 5001. A SYN without seq= repeats the first sequence number; one with
// seq= begins anew. Acknowledgements cover everything sent so far.
//
// # ICMP
//
// After the two addresses come type and code as "3/13", or one of prohibited,
// port-unreachable, host-unreachable, time-exceeded, for which the right number
// for IPv4 or IPv6 is taken; then the flow that is quoted, in the direction of
// the packet that caused the error.
//
// # Options
//
//	seq=N ack=N win=N   of TCP
//	mss=N               the payload in segments of N bytes, all of the same time
//	vlan=10.20          802.1Q tags, outermost first; with two tags the outer is 802.1ad
//	frag=N              IP fragments with N bytes each (a multiple of 8)
//	snap=N              cuts this frame
//	times=N             the same statement N times
//	ttl=N id=N          of IP; id also identifies IPv6 fragments
package capturetest
