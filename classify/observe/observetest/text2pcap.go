package observetest

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/exspan/exspan/classify/observe"
)

// TextToPcap writes a TCP conversation to a capture file for tshark, with text2pcap, and
// returns the file's name. The client's port is 49152. It skips the test if text2pcap is
// missing.
func TextToPcap(t testing.TB, conv []Segment, serverPort uint16) string {
	t.Helper()
	prog, err := exec.LookPath("text2pcap")
	if err != nil {
		t.Skip(err)
	}
	var in bytes.Buffer
	for _, s := range conv {
		// The ports are swapped in outbound packets.
		if s.Dir == observe.ToServer {
			in.WriteString("I\n")
		} else {
			in.WriteString("O\n")
		}
		for at := 0; at < len(s.Data); at += 16 {
			fmt.Fprintf(&in, "%06x % x\n", at, s.Data[at:min(at+16, len(s.Data))])
		}
		in.WriteString("\n")
	}
	file := filepath.Join(t.TempDir(), "conversation.pcap")
	cmd := exec.Command(prog, "-q", "-D", "-4", "192.0.2.10,192.0.2.1", "-T", "49152,"+strconv.Itoa(int(serverPort)), "-", file)
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("text2pcap: %v: %s", err, out)
	}
	return file
}
