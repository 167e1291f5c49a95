package glossary

import (
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// TestComplete compares the table with the words that package record declares.
func TestComplete(t *testing.T) {
	want := map[Kind][]string{
		Confidence: {"port", "pattern", "learned", "observed"},
		Outcome: {string(record.Answered), string(record.Refused), string(record.Unanswered), string(record.Incomplete),
			string(record.Prohibited), "blocked", string(record.Midstream), string(record.OneWay)},
	}
	for _, s := range record.Statuses() {
		want[Status] = append(want[Status], string(s))
	}
	for _, r := range record.Reasons() {
		want[Reason] = append(want[Reason], string(r))
	}
	for _, f := range record.Findings() {
		want[Finding] = append(want[Finding], string(f))
	}
	total := 0
	for kind, words := range want {
		for _, w := range words {
			total++
			n := 0
			for _, e := range Lookup(w) {
				if e.Kind == kind {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s %q has %d entries", kind, w, n)
			}
		}
	}
	if len(Entries()) != total {
		t.Errorf("%d entries for %d words", len(Entries()), total)
	}
}

func TestEntries(t *testing.T) {
	for _, e := range Entries() {
		if e.Title == "" || !strings.HasSuffix(e.Text, ".") {
			t.Errorf("%s %q: title %q, text %q", e.Kind, e.Word, e.Title, e.Text)
		}
		if e.Kind == Finding && (e.Severity == Ungraded || e.Clause == "") {
			t.Errorf("finding %q has no severity or no clause", e.Word)
		}
		for _, a := range e.Advice {
			if a.Source == "" || !strings.HasSuffix(a.Do, ".") {
				t.Errorf("%q: advice %q without a source or a full stop", e.Word, a.Do)
			}
		}
	}
}

func TestFor(t *testing.T) {
	e := OfFinding(record.FindingWeakEncryption)
	outlook, directory := &rules.DataPath{From: []rules.Role{"client"}, To: []rules.Role{"cas"}}, &rules.DataPath{From: []rules.Role{"cas"}, To: []rules.Role{"dc"}}
	if a := e.For("dcerpc", directory); a != nil {
		t.Errorf("for RPC to a domain controller: %v", a)
	}
	if a := e.For("dcerpc", outlook); a == nil || !strings.Contains(a.Do, "EncryptionRequired") {
		t.Errorf("for RPC: %v", a)
	}
	if a := e.For("imap", nil); a == nil || !strings.Contains(a.Do, "SCHANNEL") {
		t.Errorf("for IMAP: %v", a)
	}
	if a := OfFinding(record.FindingAuthUnsupported).For("smtp", outlook); a != nil {
		t.Errorf("advice without a source: %v", a)
	}
}
