package tls

import "github.com/exspan/exspan/classify/observe"

// look is the classification of the first bytes of one direction.
type look uint8

const (
	lookNo    look = iota
	lookMore       // too few bytes
	lookOne        // one record
	lookChain      // several records in a row
	lookHello      // a ClientHello or ServerHello
)

// Detect recognises a hello on any port. If the flow began before the capture, it
// recognises two records without a hello, or one record on an expected port. A record of
// application data that fills its segment is enough on the ports of protocols that turn
// to TLS under way.
func Detect(f *observe.First) observe.Match {
	a, b := first(f.ToServer, f.OnPort), first(f.ToClient, f.OnPort)
	if b > a {
		a, b = b, a
	}
	switch {
	case a == lookHello && b == lookNo:
		return observe.No
	case a >= lookChain, a == lookOne && (f.OnPort || b == lookOne || f.Late && upgrades(f.ServerPort) && (isWhole(f.ToServer) || isWhole(f.ToClient))):
		return observe.Yes
	case b == lookNo && a != lookOne:
		return observe.No
	}
	return observe.More
}

// first classifies one direction. If enough is set, one record is sufficient and first
// looks no further, so that more bytes never change its answer.
func first(b []byte, enough bool) look {
	if len(b) == 0 {
		return lookMore
	}
	if b[0]&0x80 != 0 {
		switch _, _, ok := ssl2Hello(b); {
		case !ok:
			return lookNo
		case len(b) < ssl2HelloHeader:
			return lookMore
		}
		return lookHello
	}
	l := lookMore
	for {
		if len(b) < 5 {
			if !recordPrefix(b) {
				return lookNo
			}
			return l
		}
		typ, n, ok := record(b)
		switch {
		case !ok:
			return lookNo
		case l == lookOne:
			return lookChain
		}
		body := b[5:min(len(b), 5+n)]
		if typ == recordHandshake {
			if len(body) == 0 {
				return lookMore
			}
			if !knownMessage(body[0]) {
				return lookNo
			}
			if body[0] == msgClientHello || body[0] == msgServerHello {
				// The type, a length below 64 KiB, and version 3.x.
				if len(body) > 1 && body[1] != 0 || len(body) > 4 && body[4] != 3 || len(body) > 5 && body[5] > 3 {
					return lookNo
				}
				if len(body) < min(n, 6) {
					return lookMore
				}
				return lookHello
			}
		}
		if typ == recordApplicationData && n < minProtected {
			return lookNo
		}
		l = lookOne
		if enough || len(b) <= 5+n {
			return l
		}
		b = b[5+n:]
	}
}

// upgrades reports whether a port is one of SMTP, POP3, NNTP, IMAP or LDAP without TLS,
// which can turn to TLS on a command (RFC 3207, RFC 2595, RFC 4642, RFC 4511 section
// 4.14).
func upgrades(port uint16) bool {
	switch port {
	case 25, 110, 119, 143, 389, 587, 2525, 3268:
		return true
	}
	return false
}

// isWhole reports whether b is one record of application data.
func isWhole(b []byte) bool {
	if len(b) < 5+minProtected || b[0] != recordApplicationData {
		return false
	}
	_, n, ok := record(b)
	return ok && b[2] >= 1 && b[2] <= 3 && len(b) == 5+n
}

// minProtected is the length of the shortest protected record: a type octet and a tag in
// TLS 1.3, or a MAC in RC4 with MD5.
const minProtected = 17

// record parses a record header of five bytes.
func record(b []byte) (typ byte, n int, ok bool) {
	typ, n = b[0], int(b[3])<<8|int(b[4])
	return typ, n, recordPrefix(b[:3]) && n <= maxRecord && (n > 0 || typ == recordApplicationData) &&
		(typ != recordChangeCipherSpec || n == 1)
}

// recordPrefix reports whether b, of at most five bytes, can start a record.
func recordPrefix(b []byte) bool {
	return (len(b) < 1 || b[0] >= recordChangeCipherSpec && b[0] <= recordHeartbeat) &&
		(len(b) < 2 || b[1] == 3) && (len(b) < 3 || b[2] <= 4) && (len(b) < 4 || int(b[3])<<8 <= maxRecord)
}

func knownMessage(typ byte) bool {
	switch typ {
	case msgHelloRequest, msgClientHello, msgServerHello, msgNewSessionTicket, msgCertificate, msgServerKeyExchange,
		msgCertificateRequest, msgServerHelloDone, msgCertificateVerify, msgClientKeyExchange, msgFinished,
		msgCertificateStatus, msgSupplementalData:
		return true
	}
	return false
}

const ssl2HelloHeader = 11 // length, type, version and three lengths

// ssl2Hello parses the head of an SSL 2.0 CLIENT-HELLO, which may offer a later version
// (RFC 5246 appendix E.2). ok reports that the available bytes are valid.
func ssl2Hello(b []byte) (n int, version uint16, ok bool) {
	if len(b) > 2 && b[2] != 1 || len(b) > 3 && b[3] != 0 && b[3] != 3 ||
		len(b) > 4 && (b[3] == 0 && b[4] != 2 || b[3] == 3 && b[4] > 3) {
		return 0, 0, false
	}
	if len(b) < ssl2HelloHeader {
		return 0, 0, true
	}
	n = int(b[0]&0x7f)<<8 | int(b[1])
	specs, id, challenge := int(b[5])<<8|int(b[6]), int(b[7])<<8|int(b[8]), int(b[9])<<8|int(b[10])
	return 2 + n, uint16(b[3])<<8 | uint16(b[4]),
		n == 9+specs+id+challenge && specs > 0 && specs%3 == 0 && id <= 32 && challenge >= 8 && challenge <= 32
}
