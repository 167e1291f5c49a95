package rules

import "testing"

func TestGuess(t *testing.T) {
	known := []string{"hub", "edge", "mailbox", "mailbox-legacy", "cas", "emsmdb", "client", "admin"}
	for wrong, want := range map[string]string{
		"mailbx":   "; did you mean mailbox?",
		"Mailbox":  "; did you mean mailbox?",
		"emsdmb":   "; did you mean emsmdb?", // two letters swapped
		"clients":  "; did you mean client?",
		"edg":      "; did you mean edge?",
		"hubb":     "; did you mean hub?",
		"cass":     "; did you mean cas?",
		"xyz":      "",
		"gateway":  "",
		"2011":     "",
		"":         "",
		"15.1.2.3": "",
		"mailboxmailboxmailboxmailboxmailboxmailboxmailboxmailboxmailboxmailbox": "",
	} {
		if got := guess(wrong, known); got != want {
			t.Errorf("%q: %q, want %q", wrong, got, want)
		}
	}
}

func TestNear(t *testing.T) {
	known := []string{"analyze", "monitor", "interfaces", "cleartext", "weak-auth", "top", "csv", "ndjson"}
	for word, want := range map[string]string{
		"analize": "analyze", "analyse": "analyze", "Monitr": "monitor", "interface": "interfaces", "claertext": "cleartext",
		"weakauth": "weak-auth", "tpo": "top", "json": "ndjson", "xml": "", "pie": "", "": "", "trace.pcap": "",
	} {
		if got := Near(word, known); got != want {
			t.Errorf("Near(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}, {"flaw", "lawn", 2}} {
		if got := editDistance(x.a, x.b); got != x.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", x.a, x.b, got, x.want)
		}
		if got := editDistance(x.b, x.a); got != x.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", x.b, x.a, got, x.want)
		}
	}
}
