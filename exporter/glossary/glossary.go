// Package glossary explains the words of a verdict to an administrator: what
// each status, reason, finding, confidence and outcome means, how grave a
// finding is, and what to do about it.
//
// One table feeds the glossary command, the report and the documents. Advice
// comes from a document that the entry names; where there is none, the entry
// has no advice.
package glossary

import (
	"slices"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// Kind is what sort of word an entry explains.
type Kind string

// The kinds, in the order of Entries.
const (
	Status     Kind = "status"
	Reason     Kind = "reason"
	Finding    Kind = "finding"
	Confidence Kind = "confidence"
	Outcome    Kind = "outcome"
)

// Severity grades findings and statuses.
type Severity uint8

// The severities, the gravest first. The zero value grades nothing.
const (
	Ungraded Severity = iota
	Critical
	High
	Medium
	Low
)

var severityNames = [...]string{"", "critical", "high", "medium", "low"}

func (s Severity) String() string { return severityNames[s] }

// Entry explains one word.
type Entry struct {
	Word     string
	Kind     Kind
	Title    string // a heading, such as "Not encrypted, though documented so"
	Severity Severity
	// Clause says in a sentence about a number of flows what they are, such as
	// "not encrypted"; findings have it.
	Clause string
	// Text is one or more sentences.
	Text string
	// Advice is what to do, for some protocols or for all.
	Advice []Advice
}

// Advice is what to do about a finding.
type Advice struct {
	// Protocols are the observed protocols that the advice is for; empty for
	// all.
	Protocols []string
	// Outlook restricts the advice to data paths from clients to Mailbox and
	// Client Access servers.
	Outlook bool
	Do      string
	Source  string
}

// For returns the advice for flows of a protocol on a data path, which may be
// nil: first what is for the protocol alone, else what is for all. It returns
// nil if none is known.
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

// Lookup returns the entries for a word: "refused" and "unanswered" are
// findings and outcomes.
func Lookup(word string) []*Entry {
	var list []*Entry
	for i := range entries {
		if entries[i].Word == word {
			list = append(list, &entries[i])
		}
	}
	return list
}

// OfFinding returns the entry of a finding, or one that knows the id alone.
func OfFinding(id record.FindingID) *Entry {
	for i := range entries {
		if entries[i].Kind == Finding && entries[i].Word == string(id) {
			return &entries[i]
		}
	}
	return &Entry{Word: string(id), Kind: Finding, Title: string(id), Clause: "with " + string(id), Severity: Medium}
}
