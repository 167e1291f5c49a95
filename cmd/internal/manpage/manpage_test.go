package manpage

import "testing"

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"--fail-on":       `\-\-fail\-on`,
		".hidden\n'x'\n.": "\\&.hidden\n\\&'x'\n\\&.",
		`C:\x`:            `C:\ex`,
	} {
		if got := Roff(in); got != want {
			t.Errorf("Roff(%q) = %q, want %q", in, got, want)
		}
	}
}
