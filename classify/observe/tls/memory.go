package tls

import (
	"hash/maphash"

	"github.com/exspan/exspan/classify/observe"
)

// memory caches the results for recent hellos and certificates. Clients of one product
// send the same hello except for names, keys and random bytes, and a server has one
// certificate. It is not safe for concurrent use.
type memory struct {
	seed         maphash.Seed
	hellos       [64]fingerprint
	spare        []byte // a buffer for a message in several pieces
	certificates [128]struct {
		der        string
		identities bool
		facts      []observe.Fact
	}
}

// fingerprint holds the results for a hello.
type fingerprint struct {
	made    string // their input (see madeOf)
	ja4     string
	offered []string // application protocols
}

// Longer inputs are not cached.
const (
	maxMade = 384     // bytes of the input of a fingerprint
	maxDER  = 4 << 10 // bytes of a certificate
)

func newMemory() *memory { return &memory{seed: maphash.MakeSeed()} }

// hello returns the results for h.
func (m *memory) hello(h *clientHello) *fingerprint {
	var room [maxMade]byte
	made := h.madeOf(room[:0])
	f := &m.hellos[maphash.Bytes(m.seed, made)%uint64(len(m.hellos))]
	if f.made != string(made) {
		f.ja4 = h.ja4()
		f.offered, _ = h.offered()
		if f.made = ""; len(made) <= maxMade {
			f.made = string(made)
		}
	}
	return f
}

// certificate reports the names in a server certificate.
func (m *memory) certificate(der []byte, r *observe.Report) {
	if len(der) > maxDER {
		reportCertificate(der, r)
		return
	}
	e := &m.certificates[maphash.Bytes(m.seed, der)%uint64(len(m.certificates))]
	if e.der != string(der) || e.identities != r.Identities {
		only := observe.Report{Identities: r.Identities}
		reportCertificate(der, &only)
		e.der, e.identities, e.facts = string(der), r.Identities, only.All()
	}
	for _, f := range e.facts {
		r.Add(f.Name, f.Value)
	}
}
