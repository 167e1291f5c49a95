package ssh

import (
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/observetest"
)

func TestDetect(t *testing.T) {
	for in, want := range map[string]observe.Match{
		"": observe.More, "S": observe.More, "SSH-": observe.More, "SSH-2.0-OpenSSH_9.2p1\r\n": observe.Yes, "SSH-1.99-Cisco-1.25\n": observe.Yes,
		"SSH server": observe.No, "220 mail": observe.No, "SSH-x": observe.No,
	} {
		if got := detect(&observe.First{ToClient: []byte(in)}); got != want {
			t.Errorf("server, %q: %v, want %v", in, got, want)
		}
		if got := detect(&observe.First{ToServer: []byte(in)}); got != want {
			t.Errorf("client, %q: %v, want %v", in, got, want)
		}
	}
}

func FuzzObserve(f *testing.F) {
	observetest.Fuzz(f, Protocol(), []observetest.Segment{observetest.ToClient("SSH-2.0-OpenSSH_9.2p1\r\n"),
		observetest.ToServer("SSH-2.0-PuTTY\r\n")})
}
