package text

import (
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Size(0): "0 B", Size(999): "999 B", Size(1000): "1.0 kB", Size(999_949): "999.9 kB", Size(999_950): "1.0 MB",
		Size(1_500_000_000): "1.5 GB", Size(1 << 63): "9223.4 PB",
		Thousands(0): "0", Thousands(999): "999", Thousands(1000): "1,000", Thousands(12345678): "12,345,678",
		Span(-1): "0 ms", Span(59_900 * time.Millisecond): "59.9 s", Span(61 * time.Second): "1 min 1 s", Span(25 * time.Hour): "1 d 1 h",
		Count(1, "flow"): "1 flow", Count(0, "flow"): "0 flows",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
