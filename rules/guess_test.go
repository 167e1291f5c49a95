package rules

import "testing"

func TestGuess(t *testing.T) {
	known := []string{"hub", "edge", "mailbox", "mailbox-legacy", "cas", "emsmdb", "client", "admin"}
	for wrong, want := range map[string]string{
		"mailbx":   "; did you mean mailbox?",
		"Mailbox":  "; did you mean mailbox?",
		"emsdmb":   "; did you mean emsmdb?", // two letters exchanged
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
