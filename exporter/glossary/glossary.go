// Package glossary explains the terms of a verdict to an administrator: the meaning of
// each status, reason, finding, confidence and outcome, the severity of a finding, and
// what to do about it.
//
// The glossary command, the report and the documents use the same table. All advice comes
// from a document that the entry names. An entry without such a document has no advice.
package glossary

import (
	"slices"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Kind is the kind of term that an entry explains.
type Kind string

// The kinds, in the order of Entries.
const (
	Status     Kind = "status"
	Reason     Kind = "reason"
	Finding    Kind = "finding"
	Confidence Kind = "confidence"
	Outcome    Kind = "outcome"
)

// Severity rates findings and statuses.
type Severity uint8

// The severities, most severe first. The zero value means that there is no rating.
const (
	Ungraded Severity = iota
	Critical
	High
	Medium
	Low
)

var severityNames = [...]string{"", "critical", "high", "medium", "low"}

func (s Severity) String() string { return severityNames[s] }

// Entry explains one term.
type Entry struct {
	Word     string
	Kind     Kind
	Title    string // a heading, such as "Not encrypted, though documented so"
	Severity Severity
	// Clause is a clause for a sentence about a number of flows, such as "not encrypted".
	// Only findings have it.
	Clause string
	// Text consists of one or more sentences.
	Text string
	// Advice lists what to do, for some protocols or for all.
	Advice []Advice
}

// Advice is what to do about a finding.
type Advice struct {
	// Protocols lists the observed protocols to which the advice applies. It is empty for
	// all protocols.
	Protocols []string
	// Outlook restricts the advice to data paths from clients to Mailbox and Client
	// Access servers.
	Outlook bool
	Do      string
	Source  string
}

// For returns the advice for flows of a protocol on a data path, which may be nil. Advice
// for the protocol takes precedence over advice for all protocols. For returns nil if
// there is none.
func (e *Entry) For(protocol string, path *rules.DataPath) *Advice {
	for i := range e.Advice {
		a := &e.Advice[i]
		if !slices.Contains(a.Protocols, protocol) {
			continue
		}
		if a.Outlook && !(path != nil && slices.Contains(path.From, rules.Client) &&
			(slices.Contains(path.To, rules.Mailbox) || slices.Contains(path.To, rules.CAS))) {
			return nil
		}
		return a
	}
	for i := range e.Advice {
		if e.Advice[i].Protocols == nil {
			return &e.Advice[i]
		}
	}
	return nil
}

// Entries returns the whole glossary, by kind. The caller must not change it.
func Entries() []Entry { return entries }

// Lookup returns the entries for a word. There can be several: "refused" and "unanswered"
// are both findings and outcomes.
func Lookup(word string) []*Entry {
	var list []*Entry
	for i := range entries {
		if entries[i].Word == word {
			list = append(list, &entries[i])
		}
	}
	return list
}

// OfFinding returns the entry of a finding. If there is none, it returns an entry with
// only the id.
func OfFinding(id record.FindingID) *Entry {
	for i := range entries {
		if entries[i].Kind == Finding && entries[i].Word == string(id) {
			return &entries[i]
		}
	}
	return &Entry{Word: string(id), Kind: Finding, Title: string(id), Clause: "with " + string(id), Severity: Medium}
}
