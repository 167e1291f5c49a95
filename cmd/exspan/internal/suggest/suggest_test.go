package suggest

import "testing"

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

func TestDistance(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}, {"flaw", "lawn", 2}} {
		if got := distance(x.a, x.b); got != x.want {
			t.Errorf("distance(%q, %q) = %d, want %d", x.a, x.b, got, x.want)
		}
		if got := distance(x.b, x.a); got != x.want {
			t.Errorf("distance(%q, %q) = %d, want %d", x.b, x.a, got, x.want)
		}
	}
}
