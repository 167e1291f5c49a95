// Package tls observes TLS and its predecessors SSL 2.0 and SSL 3.0 over TCP, from the
// first byte of a flow or after STARTTLS. It reports what was negotiated, never what is
// protected.
//
// It reads the cleartext parts of the handshake (RFC 8446 section 4, RFC 5246 section
// 7.4, RFC 6101): both hellos and, up to TLS 1.2, the certificates and the certificate
// request, which TLS 1.3 encrypts. Observation ends with the handshake. If the beginning
// of a flow was not seen, only its records identify it, and no version is reported: since
// TLS 1.3 the version in a record header is meaningless.
//
// Observers of protocols that begin in clear hand a flow over by setting Report.Next to
// Name and returning observe.ErrUpgrade.
package tls

import (
	"github.com/exspan/exspan/classify/observe"
)

// Name is the protocol's name.
const Name = "tls"

// The facts of this protocol.
const (
	// Version is the negotiated version: "1.0" to "1.3", "ssl3" or "ssl2".
	Version = observe.TLSVersion
	// ServerName is the host name that the client requested (RFC 6066 section 3).
	ServerName = "tls.server_name"
	// ALPN is the application protocol (RFC 7301). Up to TLS 1.2 it is the protocol that
	// the server selected. TLS 1.3 encrypts the selection. In that case, and if the
	// server's answer was not seen, the values are all protocols that the client offered.
	ALPN = "tls.alpn"
	// Cipher is the selected suite; see CipherName.
	Cipher = observe.TLSCipher
	// ClientCertificate is "requested" if the server requested a certificate, and "given"
	// if the client sent one. It is "not-requested" if a full handshake with a server
	// certificate was seen to its end and the server did not request one; a
	// renegotiation, which is encrypted, can still do so. The values apply up to TLS 1.2.
	// There is none for resumed sessions and TLS 1.3.
	ClientCertificate = "tls.client_certificate"
	// ClientSelfSigned is "yes" if the client's certificate is self-issued. It applies up
	// to TLS 1.2.
	ClientSelfSigned = "tls.client_self_signed"
	// Subject is the common name of the server certificate's subject, as "CN=...". It
	// applies up to TLS 1.2.
	Subject = "tls.subject"
	// SubjectDN is the whole subject in the form of RFC 4514; only with
	// Report.Identities.
	SubjectDN = "tls.subject_dn"
	// SAN holds the DNS names and IP addresses in the subject alternative name of the
	// server certificate, at most maxNames. It applies up to TLS 1.2.
	SAN = "tls.san"
	// SelfSigned is "yes" if the subject and the issuer of the server certificate are the
	// same (self-issued, RFC 5280 section 3.2). The signature is not verified. It applies
	// up to TLS 1.2.
	SelfSigned = "tls.self_signed"
	// Certificate is "host" if the server certificate is self-issued for one host and
	// five years: the subject is CN=HOST, and the alternative names are HOST and
	// HOST.domain. Setup programs create such certificates; Exchange's is one of them. It
	// applies up to TLS 1.2.
	Certificate = "tls.certificate"
	// Resumed is "yes" if an earlier session was resumed. Up to TLS 1.2 the server then
	// sends ChangeCipherSpec directly after its hello. In TLS 1.3 it selects a pre-shared
	// key.
	Resumed = "tls.resumed"
	// Decrypted is "yes" if plaintext followed an accepted STARTTLS, because the
	// connection was captured after decryption. The observers of the protocols that begin
	// in clear report it.
	Decrypted = "tls.decrypted"
	// JA4 is the fingerprint of the ClientHello.
	JA4 = "tls.ja4"
)

// Limits.
const (
	maxRecord      = 16384 + 2048 // bytes of one record, RFC 5246 section 6.2.3
	maxClientHello = 16 << 10     // bytes read of a ClientHello
	maxServerHello = 8 << 10      // bytes read of a ServerHello
	maxTicket      = 256          // bytes read of a session ticket
	maxLeaf        = 16 << 10     // bytes read of a server certificate
	maxMessage     = 1 << 20      // longest accepted handshake message
	maxNames       = 16           // names reported per certificate
	maxALPN        = 8            // application protocols reported per offer
)

// Content types of records, RFC 8446 section 5.1.
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
	recordHeartbeat        = 24
)

// Handshake message types, RFC 8446 section 4 and RFC 5246 section 7.4.
const (
	msgHelloRequest       = 0
	msgClientHello        = 1
	msgServerHello        = 2
	msgNewSessionTicket   = 4
	msgCertificate        = 11
	msgServerKeyExchange  = 12
	msgCertificateRequest = 13
	msgServerHelloDone    = 14
	msgCertificateVerify  = 15
	msgClientKeyExchange  = 16
	msgFinished           = 20
	msgCertificateStatus  = 22
	msgSupplementalData   = 23
)

// Protocol describes TLS.
func Protocol() observe.Protocol {
	seen := newMemory()
	return observe.Protocol{
		Name: Name,
		// HTTPS and the back end of Exchange 2013 and later; SMTPS, NNTPS, LDAPS, IMAPS
		// and POP3S with their back ends; global catalog, SIP, WinRM, the IIS management
		// service, EdgeSync.
		TCP: []uint16{443, 444, 465, 563, 636, 993, 995, 1993, 1995, 3269, 5061, 5062, 5063, 5066, 5067, 5068, 5986, 8172,
			50636},
		Stream: true,
		StreamPatterns: []observe.Pattern{
			{Mask: 0x80ff << 48, Value: 0x0003 << 48},     // a record of version 3
			{Mask: 0x8000ff << 40, Value: 0x800001 << 40}, // a hello of SSL 2
		},
		Detect: Detect,
		New:    func() observe.Observer { return &observer{seen: seen} },
		Renew:  func(o observe.Observer) { *o.(*observer) = observer{seen: seen} },
	}
}

// direction is the state of one direction.
type direction struct {
	blind     bool // the record boundaries are unknown
	ccs       bool // ChangeCipherSpec was seen: handshake records are encrypted
	lost      bool // handshake messages can no longer be read
	typ       byte // type of the record being read
	head      [4]byte
	nhead     int
	records   int // records started
	remaining int // bytes of the record that were not read yet
	app       int // application data records

	// The handshake message being read: its header (above), its length, the number of
	// bytes left, and its bytes so far, as many as are wanted.
	length      int
	messageLeft int
	want        int
	buf         []byte
}

type observer struct {
	dir  [2]direction
	seen *memory // shared by all observers

	hello       bool   // a ClientHello was read
	helloRetry  bool   // a HelloRetryRequest was read
	version     uint16 // the negotiated version; 0 before the ServerHello
	early       bool   // the ClientHello announced early data
	offered     []string
	selected    string
	given       bool
	full        bool // the server sent a message of a full handshake
	certified   bool // it sent its certificate
	requested   bool // it asked for one
	resumed     bool
	ssl2        bool // the client offered SSL 2.0 in the form of SSL 2.0
	ssl2Key     bool
	encrypted   bool
	authWritten bool
}

// Observe implements observe.Observer.
func (o *observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	d := &o.dir[in.Dir]
	if in.Gap > 0 {
		return o.gap(d, in.Gap)
	}
	used, b := 0, in.Data
	for {
		if d.blind {
			return used + len(b), nil
		}
		if d.remaining == 0 {
			n, err := o.header(d, b, in, r)
			if n == 0 || err != nil {
				return used, err
			}
			if n > len(b) { // an SSL 2.0 message, skipped
				return used + n, nil
			}
			used, b = used+n, b[n:]
			continue
		}
		if d.typ != recordHandshake || d.ccs || d.lost {
			used, d.remaining = used+d.remaining, 0
			if used >= len(in.Data) {
				return used, nil
			}
			b = in.Data[used:]
			continue
		}
		n := min(d.remaining, len(b))
		if n == 0 {
			return used, nil
		}
		if err := o.feed(d, b[:n], in, r); err != nil {
			return used, err
		}
		d.remaining -= n
		used, b = used+n, b[n:]
	}
}

// Held implements observe.Holder.
func (o *observer) Held() int { return cap(o.dir[0].buf) + cap(o.dir[1].buf) }

// gap continues after lost bytes if the position of the next record is known.
func (o *observer) gap(d *direction, n int) (int, error) {
	d.lost = true
	if n <= d.remaining {
		d.remaining -= n
		return 0, nil
	}
	d.blind = true
	return 0, o.doneIfBlind()
}

// doneIfBlind returns ErrDone or ErrViolation if neither direction can be read any more.
func (o *observer) doneIfBlind() error {
	if !o.dir[observe.ToServer].blind || !o.dir[observe.ToClient].blind {
		return nil
	}
	if o.dir[observe.ToServer].records+o.dir[observe.ToClient].records == 0 {
		return observe.ErrViolation
	}
	return observe.ErrDone
}

// header reads the header of a record, or a whole message of SSL 2.0. It returns 0 if it
// needs more bytes.
func (o *observer) header(d *direction, b []byte, in *observe.Input, r *observe.Report) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if b[0]&0x80 != 0 || o.ssl2Key || o.ssl2 && d.records > 0 {
		return o.ssl2Message(d, b, in, r)
	}
	if len(b) < 5 {
		if !recordPrefix(b) {
			return o.notRecord(d, b, in)
		}
		return 0, nil
	}
	typ, n, ok := record(b)
	if !ok || d.records == 0 && in.Handshake && !d.lost && typ != recordHandshake && typ != recordAlert {
		return o.notRecord(d, b, in)
	}
	d.typ, d.remaining = typ, n
	d.records++
	switch typ {
	case recordChangeCipherSpec:
		if !d.ccs && in.Dir == observe.ToClient && o.version != 0 && o.version <= 0x0303 && !o.full && !d.lost {
			o.resumed = true
			r.Add(Resumed, "yes")
		}
		d.ccs = true
	case recordApplicationData:
		if n >= minProtected {
			d.app++
		}
	}
	return 5, o.reportEncryption(in, r)
}

// notRecord is called if the bytes at the start of a record are not a record header.
func (o *observer) notRecord(d *direction, b []byte, in *observe.Input) (int, error) {
	if in.Handshake && d.records == 0 && !d.lost {
		return 0, observe.ErrViolation
	}
	d.blind = true
	return len(b), o.doneIfBlind()
}

// ssl2Message reads the messages of SSL 2.0: the client's hello, the server's hello, and
// the client's choice of a cipher (SSL 2.0 specification, sections 2.5 and 2.6).
func (o *observer) ssl2Message(d *direction, b []byte, in *observe.Input, r *observe.Report) (int, error) {
	if in.Dir == observe.ToServer && d.records == 0 {
		n, version, ok := ssl2Hello(b)
		switch {
		case !ok:
			return o.notRecord(d, b, in)
		case len(b) < ssl2HelloHeader:
			return 0, nil
		}
		d.records++
		o.hello = true
		o.ssl2 = version == 0x0002
		return n, nil
	}
	if len(b) < 6 {
		return 0, nil
	}
	n := 2 + (int(b[0]&0x7f)<<8 | int(b[1]))
	body := b[2:]
	if b[0]&0x80 == 0 {
		n, body = 3+(int(b[0]&0x3f)<<8|int(b[1])), b[3:]
	}
	switch {
	case in.Dir == observe.ToServer && o.ssl2 && b[0]&0x80 != 0 && body[0] == 2:
		if s := ssl2Ciphers[uint32(body[1])<<16|uint32(body[2])<<8|uint32(body[3])]; s != "" {
			r.Add(Cipher, s)
		}
		o.ssl2Key = true
	case in.Dir == observe.ToClient && d.records == 0 && b[0]&0x80 != 0 && body[0] == 4:
		if len(b) < 7 {
			return 0, nil
		}
		if body[3] != 0 || body[4] != 2 {
			return o.notRecord(d, b, in)
		}
		o.version = 0x0002
		r.Add(Version, versionName(o.version))
	default:
		return o.notRecord(d, b, in)
	}
	d.records++
	if o.ssl2Key && o.version == 0x0002 {
		r.Add(observe.Encryption, "tls")
		return n, observe.ErrDone
	}
	return n, nil
}

// feed reads bytes of the handshake stream, which ignores record boundaries.
func (o *observer) feed(d *direction, b []byte, in *observe.Input, r *observe.Report) error {
	for len(b) > 0 && !d.lost {
		if d.nhead < 4 {
			n := copy(d.head[d.nhead:], b)
			d.nhead, b = d.nhead+n, b[n:]
			if d.nhead < 4 {
				return nil
			}
			d.length = int(d.head[1])<<16 | int(d.head[2])<<8 | int(d.head[3])
			d.messageLeft = d.length
			var err error
			if d.want, err = o.begin(d, in, r); err != nil {
				return err
			}
		}
		n := min(len(b), d.messageLeft)
		for part := b[:n]; len(part) > 0 && len(d.buf) < d.want; {
			if want := d.want; len(d.buf) == 0 && len(part) >= want {
				// The message is complete in b and need not be copied.
				if err := o.message(d, part[:want], in, r); err != nil {
					return err
				}
				if d.want == want {
					d.want = 0
				}
				continue
			}
			k := min(len(part), d.want-len(d.buf))
			if d.buf == nil {
				d.buf, o.seen.spare = o.seen.spare, nil
			}
			d.buf = append(d.buf, part[:k]...)
			part = part[k:]
			if len(d.buf) == d.want {
				if err := o.message(d, d.buf, in, r); err != nil {
					return err
				}
			}
		}
		d.messageLeft, b = d.messageLeft-n, b[n:]
		if d.messageLeft == 0 {
			d.nhead = 0
			if d.buf != nil { // another message of another flow may use it
				o.seen.spare, d.buf = d.buf[:0], nil
			}
		}
	}
	return nil
}

// begin parses the header of a handshake message and returns the number of bytes of the
// message to read.
func (o *observer) begin(d *direction, in *observe.Input, r *observe.Report) (int, error) {
	toClient := in.Dir == observe.ToClient
	typ := d.head[0]
	if !knownMessage(typ) || d.messageLeft > maxMessage {
		// Encrypted, or the beginning of the flow was not seen.
		d.lost = true
		return 0, nil
	}
	switch typ {
	case msgClientHello, msgServerHello:
		if toClient != (typ == msgServerHello) {
			if in.Handshake {
				return 0, observe.ErrViolation
			}
			return 0, observe.ErrReversed
		}
		if toClient {
			return min(d.messageLeft, maxServerHello), nil
		}
		return min(d.messageLeft, maxClientHello), nil
	case msgNewSessionTicket:
		if toClient && o.version != 0 && o.version <= 0x0303 {
			return min(d.messageLeft, 6+maxTicket), nil
		}
	case msgCertificate:
		o.full, o.certified = o.full || toClient, o.certified || toClient
		return min(d.messageLeft, 6), nil
	case msgServerKeyExchange:
		o.full = o.full || toClient
	case msgServerHelloDone:
		if o.full = o.full || toClient; toClient && o.certified && !o.requested && o.version != 0 && o.version <= 0x0303 {
			r.Add(ClientCertificate, "not-requested")
		}
	case msgCertificateRequest:
		if toClient {
			o.full, o.requested = true, true
			r.Add(ClientCertificate, "requested")
		}
	}
	return 0, nil
}

// message is called when the requested bytes of a handshake message are there. It may
// request more of them.
func (o *observer) message(d *direction, b []byte, in *observe.Input, r *observe.Report) error {
	switch d.head[0] {
	case msgClientHello:
		o.clientHello(b, r)
	case msgServerHello:
		if !o.serverHello(b, r) && in.Handshake && d.records == 1 {
			return observe.ErrViolation
		}
	case msgNewSessionTicket: // RFC 5077 section 3.3: its lifetime in seconds, and the ticket
		if len(b) > 6 {
			r.TieSession(b[6:min(len(b), 6+(int(b[4])<<8|int(b[5])))])
		}
	case msgCertificate:
		switch {
		case len(b) == 6:
			leaf := int(b[3])<<16 | int(b[4])<<8 | int(b[5])
			if in.Dir == observe.ToServer {
				o.given = true
				r.Add(ClientCertificate, "given")
			}
			if leaf > 0 && leaf <= maxLeaf && 3+leaf <= int(b[0])<<16|int(b[1])<<8|int(b[2]) && 6+leaf <= d.length {
				d.want = 6 + leaf
				return nil
			}
		case len(b) > 6 && in.Dir == observe.ToServer:
			reportClient(b[6:], r)
		case len(b) > 6:
			o.seen.certificate(b[6:], r)
		}
	}
	return o.reportEncryption(in, r)
}

func (o *observer) clientHello(b []byte, r *observe.Report) {
	if o.hello {
		return
	}
	o.hello = true
	h, ok := parseClientHello(b)
	if !ok {
		return
	}
	r.Tie(b[2:])
	if h.version <= 0x0303 { // later versions have other tickets, and the id is a mere random value
		r.TieSession(h.session)
		r.TieSession(h.ticket[:min(len(h.ticket), maxTicket)])
	}
	o.early = h.early
	f := o.seen.hello(&h)
	r.AddBytes(ServerName, h.serverName[:min(len(h.serverName), observe.MaxFactLength)])
	r.Add(JA4, f.ja4)
	o.offered = f.offered
	for _, p := range o.offered {
		if o.selection() == "" || p == o.selected {
			r.Add(ALPN, p)
		}
	}
}

// selection returns the state of the server's choice of an application protocol: "seen",
// "none", or "" if it is unknown.
func (o *observer) selection() string {
	switch {
	case o.version == 0 || o.version >= 0x0304:
		return ""
	case o.selected == "":
		return "none"
	}
	return "seen"
}

func (o *observer) serverHello(b []byte, r *observe.Report) bool {
	h, ok := parseServerHello(b)
	if !ok {
		return false
	}
	if o.version != 0 {
		return true // the answer to a second ClientHello selects the same
	}
	o.version, o.helloRetry = h.version, h.retry
	if !h.retry {
		r.Tie(b[2:])
		if h.version <= 0x0303 {
			r.TieSession(h.session)
		}
	}
	r.Add(Version, versionName(h.version))
	r.Add(Cipher, CipherName(h.cipher))
	if h.psk {
		o.resumed = true
		r.Add(Resumed, "yes")
	}
	o.selected = h.alpn
	if o.selection() != "" {
		for _, p := range o.offered {
			if p != o.selected {
				r.Remove(ALPN, p)
			}
		}
		r.Add(ALPN, o.selected)
	}
	return true
}

// reportEncryption reports the encryption once the handshake has progressed far enough.
// It returns ErrDone if nothing more can be learned.
func (o *observer) reportEncryption(in *observe.Input, r *observe.Report) error {
	c, s := &o.dir[observe.ToServer], &o.dir[observe.ToClient]
	switch {
	case o.version >= 0x0304:
		o.encrypted = o.encrypted || c.app > 0 || s.app > 0
	case o.version != 0:
		o.encrypted = o.encrypted || c.ccs || s.ccs
	case !in.Handshake || c.lost || s.lost:
		o.encrypted = o.encrypted || c.app+s.app >= 2
	case c.app >= 2 && !o.early:
		// The server's packets are not seen. Without the server's answer, a client cannot
		// protect application data.
		r.Add(observe.Encryption, "tls")
	}
	if !o.encrypted {
		return nil
	}
	r.Add(observe.Encryption, "tls")
	if o.given && !o.authWritten {
		o.authWritten = true
		r.Add(observe.Auth, "certificate")
	}
	switch {
	case o.version == 0, o.version >= 0x0304 && o.hello && (!o.helloRetry || s.app > 0), c.pastPlaintext() && s.pastPlaintext():
		return observe.ErrDone
	}
	return nil
}

// pastPlaintext reports whether no further cleartext handshake message can follow.
func (d *direction) pastPlaintext() bool { return d.ccs || d.app > 0 || d.blind }
