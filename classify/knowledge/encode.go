package knowledge

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// kinds holds the fourth token of the keys of facts that are not about an endpoint.
var kinds = [...]string{Role: "role", Version: "version", Name: "name"}

// Token encodes a text as one token of a key: letters, digits, "-" and "_" stand
// for themselves, each other byte is "=" and two hexadecimal digits. So no token has a
// dot, a colon or a wildcard in it, and different texts have different tokens. The
// empty text is "=".
func Token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// text returns what Token encoded.
func text(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("bad token %q", token)
		}
		c, err := hex.DecodeString(token[i+1 : i+3])
		if err != nil {
			return "", fmt.Errorf("bad token %q", token)
		}
		b.Write(c)
		i += 2
	}
	if s := b.String(); Token(s) == token {
		return s, nil
	}
	return "", fmt.Errorf("bad token %q", token)
}

// Prefix returns the beginning of all keys that a sensor of a realm may write,
// with the final dot.
func Prefix(realm, sensor string) string { return Token(realm) + "." + Token(sensor) + "." }

// Key returns the key of a fact of a sensor: realm.sensor.server.proto.port.service.
func (f *Fact) Key(realm, sensor string) string {
	proto := kinds[f.Kind]
	if f.Kind == Endpoint {
		proto = "tcp"
		if f.UDP {
			proto = "udp"
		}
	}
	return Prefix(realm, sensor) + Token(f.Server.String()) + "." + proto + "." + strconv.Itoa(int(f.Port)) + "." + Token(f.What)
}

// parseKey reads a key.
func (f *Fact) parseKey(key string) (realm, sensor string, err error) {
	tokens := strings.Split(key, ".")
	if len(tokens) != 6 {
		return "", "", fmt.Errorf("a key of %d tokens, want 6", len(tokens))
	}
	for i, t := range tokens {
		if tokens[i], err = text(t); err != nil {
			return "", "", err
		}
	}
	if f.Server, err = netip.ParseAddr(tokens[2]); err != nil {
		return "", "", errors.New("a key without an address")
	}
	switch f.Kind, f.UDP = Endpoint, tokens[3] == "udp"; tokens[3] {
	case "tcp", "udp":
	default:
		if f.Kind = kindOf(tokens[3]); f.Kind == Endpoint {
			return "", "", fmt.Errorf("unknown protocol %q in a key", tokens[3])
		}
	}
	port, err := strconv.ParseUint(tokens[4], 10, 16)
	if err != nil {
		return "", "", errors.New("a key without a port")
	}
	f.Port, f.What = uint16(port), tokens[5]
	if f.Key(tokens[0], tokens[1]) != key {
		return "", "", errors.New("a key in another form than usual")
	}
	return tokens[0], tokens[1], nil
}

func kindOf(word string) Kind {
	for k, w := range kinds {
		if w != "" && w == word {
			return Kind(k)
		}
	}
	return Endpoint
}

// valueVersion is the version of encoded values. Fields may be added to a version;
// readers ignore those that they do not know.
const valueVersion = 1

// ErrNewer is returned for a value of a later version of exspan.
var ErrNewer = errors.New("a value of a later version")

// encoded is the form of a value in the store.
type encoded struct {
	Version    int             `json:"v"`
	At         int64           `json:"at"`
	Proof      string          `json:"proof"`
	Learned    int64           `json:"learned"`
	Used       int64           `json:"used"`
	Ended      int64           `json:"ended,omitempty"`
	Expires    int64           `json:"expires"`
	Source     string          `json:"source,omitempty"`
	From       *netip.AddrPort `json:"from,omitempty"`
	Announced  *netip.Addr     `json:"announced,omitempty"`
	Annotation string          `json:"annotation,omitempty"`
	Codecs     string          `json:"codecs,omitempty"`
	Dispute    string          `json:"dispute,omitempty"`
	Strange    bool            `json:"strange,omitempty"`
	Datagram   bool            `json:"datagram,omitempty"`
	Evidence   string          `json:"evidence,omitempty"`
	Peer       *netip.Addr     `json:"peer,omitempty"`
	Text       string          `json:"text,omitempty"`
	Build      string          `json:"build,omitempty"`
}

// proofs are the grades that a value can have, in words.
var proofs = [...]string{WeakEvidence: "weak", OneSided: "one-sided", TwoSided: "two-sided"}

// Encode returns the value of a fact as it is stored.
func (f *Fact) Encode() []byte {
	v := &f.Value
	e := encoded{Version: valueVersion, At: v.At, Proof: proofs[v.Proof], Learned: v.Learned, Used: v.Used, Ended: v.Ended, Expires: v.Expires,
		Source: v.Source, Annotation: v.Annotation, Codecs: v.Codecs, Dispute: v.Dispute, Strange: v.Strange, Datagram: v.Datagram,
		Evidence: v.Evidence, Text: v.Text, Build: v.Build}
	if v.From.IsValid() {
		e.From = &v.From
	}
	if v.Announced.IsValid() {
		e.Announced = &v.Announced
	}
	if v.Peer.IsValid() {
		e.Peer = &v.Peer
	}
	b, _ := json.Marshal(&e) // it does not fail
	return b
}

// MaxValue bounds the bytes of an encoded value.
const MaxValue = 8 << 10

// Decode reads a key and a value. Check has to be called before the fact is
// believed.
func Decode(key string, value []byte) (f Fact, realm, sensor string, err error) {
	if realm, sensor, err = f.parseKey(key); err != nil {
		return f, "", "", err
	}
	if len(value) > MaxValue {
		return f, realm, sensor, fmt.Errorf("a value of %d bytes, at most %d can be", len(value), MaxValue)
	}
	var e encoded
	if err := json.Unmarshal(value, &e); err != nil {
		return f, realm, sensor, err
	}
	if e.Version > valueVersion {
		return f, realm, sensor, ErrNewer
	}
	if e.Version != valueVersion {
		return f, realm, sensor, fmt.Errorf("version %d, want %d", e.Version, valueVersion)
	}
	f.Value = Value{At: e.At, Learned: e.Learned, Used: e.Used, Ended: e.Ended, Expires: e.Expires, Source: e.Source,
		Annotation: e.Annotation, Codecs: e.Codecs, Dispute: e.Dispute, Strange: e.Strange, Datagram: e.Datagram,
		Evidence: e.Evidence, Text: e.Text, Build: e.Build}
	for p, word := range proofs {
		if word != "" && word == e.Proof {
			f.Proof = Proof(p)
		}
	}
	if e.From != nil {
		f.From = *e.From
	}
	if e.Announced != nil {
		f.Announced = *e.Announced
	}
	if e.Peer != nil {
		f.Peer = *e.Peer
	}
	return f, realm, sensor, nil
}
