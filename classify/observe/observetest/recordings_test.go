package observetest_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/http"
	"github.com/exspan/exspan/classify/observe/imap"
	"github.com/exspan/exspan/classify/observe/ldap"
	"github.com/exspan/exspan/classify/observe/nntp"
	. "github.com/exspan/exspan/classify/observe/observetest"
	"github.com/exspan/exspan/classify/observe/pop3"
	"github.com/exspan/exspan/classify/observe/smb"
	"github.com/exspan/exspan/classify/observe/smtp"
)

// TestLoss drops segments of recorded conversations, and of those of the corpus if there
// is one.
func TestLoss(t *testing.T) {
	NeedTshark(t)
	var files []string
	for _, name := range []string{"mail", "web", "directory"} {
		files = append(files, "../../../testdata/"+name+".pcapng")
	}
	if dir := os.Getenv("EXSPAN_CORPUS"); dir != "" {
		for _, sub := range []string{"smtp", "pop-imap", "http", "mapi"} {
			more, _ := filepath.Glob(filepath.Join(dir, sub, "*"))
			files = append(files, more...)
		}
	}
	// Values that describe how far a session got.
	progress := map[string][]string{"smtp.tls": {"offered", "none"}, "imap.tls": {"offered", "none"}, "pop3.tls": {"offered", "none"}, "nntp.tls": {"offered", "none"}}
	for _, c := range []struct {
		p      observe.Protocol
		filter string
	}{
		{smtp.Protocol(), "tcp.port in {25, 587}"}, {http.Protocol(), "tcp.port in {80, 81, 5985}"}, {imap.Protocol(), "tcp.port == 143"},
		{pop3.Protocol(), "tcp.port == 110"}, {nntp.Protocol(), "tcp.port == 119"}, {ldap.Protocol(), "tcp.port in {389, 3268}"},
		{smb.Protocol(), "tcp.port == 445"},
	} {
		t.Run(c.p.Name, func(t *testing.T) {
			compared, missed, flows := 0, 0, 0
			for _, file := range files {
				exempt := maps.Clone(progress)
				if c.p.Name == "http" && filepath.Base(file) == "NTLM.pcap" {
					// This capture has gaps of its own. After one of them the observer
					// can find an answer that the whole conversation hides. A value that
					// tshark reads there is not invented.
					exempt["http.server"] = tsharkValues(t, file, "http.server")
					exempt["http.status"] = tsharkValues(t, file, "http.response.code")
				}
				for _, f := range Flows(t, file, c.filter) {
					n, m := CheckLoss(t, c.p, f.Segments, f.Options(), exempt)
					compared, missed, flows = compared+n, missed+m, flows+1
				}
			}
			t.Logf("%d flows: %d facts compared, %d missing beyond what the segment carried", flows, compared, missed)
		})
	}
}

// tsharkValues returns the values of a field that tshark reads in a capture.
func tsharkValues(t *testing.T, file, field string) []string {
	t.Helper()
	out, err := exec.Command("tshark", "-n", "-r", file, "-Y", field, "-T", "fields", "-e", field).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
