package text

import (
	"testing"
	"time"

	"github.com/exspan/exspan/capture"
)

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Size(0): "0 B", Size(999): "999 B", Size(1000): "1.0 kB", Size(999_949): "999.9 kB", Size(999_950): "1.0 MB",
		Size(1_500_000_000): "1.5 GB", Size(1 << 63): "9223.4 PB",
		Thousands(0): "0", Thousands(999): "999", Thousands(1000): "1,000", Thousands(12345678): "12,345,678",
		Span(-1): "0 ms", Span(59_900 * time.Millisecond): "59.9 s", Span(61 * time.Second): "1 min 1 s", Span(25 * time.Hour): "1 d 1 h",
		Count(1, "flow"): "1 flow", Count(0, "flow"): "0 flows",
		End("mb1", 25, capture.TCP): "mb1:25/tcp", End("fe80::1", 53, capture.UDP): "[fe80::1]:53/udp", End("fe80::1", 0, capture.ESP): "[fe80::1]/esp",
		End("mb1", 0, capture.ESP):                  "mb1/esp",
		After(time.Unix(0, 0), time.Unix(86399, 0)): "23:59:59", After(time.Unix(0, 0), time.Unix(86400, 0)): "1970-01-02 00:00:00",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
