// Package knowledge defines what sensors tell each other: endpoints, proofs of
// roles, versions and names. It encodes facts as keys and values of a store, and
// merges what several sensors say of one thing.
//
// A fact belongs to the sensor that learned it from packets. A sensor does not pass
// on what others told it.
package knowledge

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Proof grades how well something is known, weakest first.
type Proof uint8

// The grades.
const (
	Unproven     Proof = iota
	WeakEvidence       // it fits other explanations too
	Tunnelled          // seen inside a tunnel of another network
	Remote             // told by another sensor
	OneSided           // seen here, one direction of the flow alone
	TwoSided           // seen here, both directions of the flow
	SiteFile           // told by the operator
)

// Kind is what a fact is about.
type Kind uint8

// The kinds.
const (
	Endpoint Kind = iota // a service at an address, protocol and port
	Role                 // evidence for a role of a host
	Version              // the Exchange version of a host
	Name                 // the name of a host
)

// Fact is one thing that a sensor learned.
type Fact struct {
	Kind   Kind
	Server netip.Addr
	UDP    bool   // of an endpoint
	Port   uint16 // of an endpoint, or of the evidence for a role; else 0
	// What is the service of an endpoint, or the id of the rule that a role rests on. If
	// that rule is not known, it is "|" and the roles. It is empty for other kinds.
	What string
	Value
}

// Value is what a sensor says of the subject of a fact. Times are packet time in
// nanoseconds since the Unix epoch, apart from At.
type Value struct {
	// At is when the sensor said it, by its clock, in nanoseconds since the Unix epoch. Of
	// two values of one sensor the later one counts.
	At int64
	// Proof is how well the sensor knows it: WeakEvidence, OneSided or TwoSided.
	Proof Proof
	// Learned is when it was first seen and Used when it was last used. Ended is when
	// it ended, or 0. After Expires nobody should rely on it.
	Learned, Used, Ended, Expires int64

	// Source, From, Announced, Annotation, Codecs, Dispute, Strange and Datagram
	// describe an endpoint, as in the inventory.
	Source            string
	From              netip.AddrPort
	Announced         netip.Addr
	Annotation        string
	Codecs, Dispute   string
	Strange, Datagram bool

	// Evidence is a proof of a role in words, and Peer is the other end of the flow that
	// showed it.
	Evidence string
	Peer     netip.Addr
	// Text is the version or the name, and Build the build number of a version.
	Text, Build string
}

// Told is a fact and the sensor that tells it.
type Told struct {
	Sensor string
	Fact   Fact
}

// Limits of a value.
const (
	MaxText = 256                   // bytes of a name, an annotation, a service ...
	MaxName = 128                   // bytes of the name of a sensor or a realm
	maxLife = int64(48 * time.Hour) // from the last use to the expiry
	// Skew is by how much clocks may differ.
	Skew = int64(5 * time.Minute)
)

// Check reports what keeps a fact from being believed, whoever says it. Now is the
// time of a clock that the sensor does not control, such as that of the store.
func (f *Fact) Check(now int64) error {
	switch {
	case !f.Server.IsValid() || f.Server.Zone() != "":
		return errors.New("no address")
	case f.Proof != WeakEvidence && f.Proof != OneSided && f.Proof != TwoSided:
		return fmt.Errorf("proof %d, which no sensor can have", f.Proof)
	case f.At > now+Skew || f.Used > now+Skew || f.Ended > now+Skew || f.Learned > f.Used:
		return errors.New("times that cannot be")
	case f.Expires > f.Used+maxLife && f.Expires > now+maxLife || f.Expires < f.Used:
		return errors.New("an expiry that cannot be")
	case f.Kind == Endpoint && (f.Port == 0 || f.What == ""):
		return errors.New("no port or service")
	case f.Kind == Role && f.What == "", f.Kind > Role && f.Text == "":
		return errors.New("it says nothing")
	}
	return CheckTexts(f.What, f.Source, f.Annotation, f.Codecs, f.Dispute, f.Evidence, f.Text, f.Build)
}

// CheckTexts reports what keeps texts that come from elsewhere from being kept and shown.
func CheckTexts(texts ...string) error {
	for _, t := range texts {
		if len(t) > MaxText {
			return fmt.Errorf("a text of %d bytes, at most %d can be", len(t), MaxText)
		}
		if err := checkPrintable(t); err != nil {
			return err
		}
	}
	return nil
}

// CheckName reports what keeps a text from being the name of a sensor or a realm.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("a name of %d bytes, want 1 to %d", len(name), MaxName)
	}
	return checkPrintable(name)
}

func checkPrintable(t string) error {
	if strings.ContainsFunc(t, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(t) {
		return fmt.Errorf("control characters in %q", t)
	}
	return nil
}

// Undated returns the value without the times that change while it says the same.
func (v *Value) Undated() Value {
	u := *v
	u.At, u.Used, u.Expires = 0, 0, 0
	return u
}
