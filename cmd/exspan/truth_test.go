package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/session"
	"github.com/exspan/exspan/rules"
)

// truth is the knowledge about a recorded capture from other sources: conversations as
// tshark counts them, and the expectations of the script that recorded it.
type truth struct {
	Capture string
	Flows   []struct {
		Proto, Client, Server string
		Packets, Bytes        [2]uint64 // to server, to client
		Outcome, Start, Step  string
		Expect                map[string]string
	}
}

// outputFlow is a line of exspan's NDJSON.
type outputFlow struct {
	Proto          string
	Client, Server struct {
		IP   string
		Port uint16
	}
	Packets, Bytes struct {
		ToServer uint64 `json:"to_server"`
		ToClient uint64 `json:"to_client"`
	}
	Outcome, Protocol string
	Facts             map[string][]string
	Endpoint          struct{ Service string }
	Verdict           struct {
		Status, Path string
		Also         []string
		Findings     []struct{ ID, Level string }
	}
}

// TestRecorded compares the recorded captures with their ground truth, flow by flow.
func TestRecorded(t *testing.T) {
	files, err := filepath.Glob("../../testdata/*.truth.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded captures: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".truth.json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want truth
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			if code := run([]string{"analyze", "--format", "ndjson", "--site", name + ".site.yaml", name + ".pcapng"}, &stdout, &stderr); code != 0 {
				t.Fatalf("exit code %d: %s", code, &stderr)
			}
			got := map[string][]outputFlow{}
			flows := 0
			for line := range strings.Lines(stdout.String()) {
				var s outputFlow
				if err := json.Unmarshal([]byte(line), &s); err != nil {
					t.Fatal(err)
				}
				flows++
				key := ends(s.Proto, fmt.Sprintf("%s:%d", s.Client.IP, s.Client.Port), fmt.Sprintf("%s:%d", s.Server.IP, s.Server.Port))
				got[key] = append(got[key], s)
			}
			if flows != len(want.Flows) {
				t.Errorf("%d flows, want %d", flows, len(want.Flows))
			}
			for _, f := range want.Flows {
				key := ends(f.Proto, f.Client, f.Server)
				if len(got[key]) == 0 && f.Proto == "udp" && f.Expect["nat"] == "yes" {
					// The truth takes every announced address for a server's. One behind a
					// translator is announced by a host that does not own it.
					key = ends(f.Proto, f.Server, f.Client)
					slices.Reverse(f.Packets[:])
					slices.Reverse(f.Bytes[:])
				}
				if len(got[key]) == 0 {
					t.Errorf("no flow %s (%s)", key, f.Step)
					continue
				}
				s := got[key][0]
				got[key] = got[key][1:]
				for _, problem := range compare(&s, f.Packets, f.Bytes, f.Outcome, f.Expect) {
					t.Errorf("%s (%s): %s", key, f.Step, problem)
				}
			}
		})
	}
}

func ends(proto, client, server string) string { return proto + " " + client + " > " + server }

// compare returns the differences.
func compare(s *outputFlow, packets, bytes [2]uint64, outcome string, expect map[string]string) []string {
	var problems []string
	differ := func(what string, got, want any) {
		problems = append(problems, fmt.Sprintf("%s: %v, want %v", what, got, want))
	}
	if got := [2]uint64{s.Packets.ToServer, s.Packets.ToClient}; got != packets {
		differ("packets", got, packets)
	}
	if got := [2]uint64{s.Bytes.ToServer, s.Bytes.ToClient}; got != bytes {
		differ("bytes", got, bytes)
	}
	if s.Outcome != outcome {
		differ("outcome", s.Outcome, outcome)
	}
	if p := expect["protocol"]; p != "" && !readable(p) {
		return problems // there is no observer for it yet
	}
	// The content of TLS is not visible.
	inside := slices.Contains(s.Facts["encryption"], "tls") && expect["encryption"] != "none"
	for what, want := range expect {
		switch what {
		case "protocol":
			if s.Protocol != want && !(inside && s.Protocol == "tls") && want != "cldap" {
				differ(what, s.Protocol, want)
			}
		case "path":
			if s.Verdict.Path != want && !slices.Contains(s.Verdict.Also, want) && documented(want) {
				differ(what, append([]string{s.Verdict.Path}, s.Verdict.Also...), want)
			}
		case "status":
			if s.Verdict.Status != want {
				differ(what, s.Verdict.Status, want)
			}
		case "finding":
			found := false
			for _, f := range s.Verdict.Findings {
				found = found || f.ID == want || want == "none" && f.Level == "violation"
			}
			if found == (want == "none") {
				differ(what, s.Verdict.Findings, want)
			}
		case "rpc.interface":
			if !slices.Contains(s.Facts[what], want) && s.Endpoint.Service != want && !inside {
				differ(what, s.Facts[what], want)
			}
		case "auth", "kerberos.service", "http.path", "http.method", "http.status":
			if !inside && !has(s.Facts[what], want) {
				differ(what, s.Facts[what], want)
			}
		case "encryption", "rpc.auth_level", "rpc.uuid", "tls.version", "tls.server_name", "tls.alpn", "smtp.tls", "ldap.bind",
			"kerberos.error", "smb.share", "smb.pipe", "smb.version", "smb.signed":
			if !has(s.Facts[what], want) {
				differ(what, s.Facts[what], want)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func readable(protocol string) bool {
	return slices.ContainsFunc(session.Protocols(), func(p observe.Protocol) bool { return p.Name == protocol })
}

func documented(path string) bool {
	packs, err := rules.Embedded()
	return err != nil || packs.Path(path) != nil
}

// words maps the terms of the recording scripts to values of facts.
var words = map[string][]string{
	"basic":                        {"simple"},
	"login":                        {"user-pass"},
	"anonymous":                    {"none"},
	"simple":                       {"anonymous"}, // a simple bind without a name
	"sasl":                         {"sasl:GSSAPI", "sasl:GSS-SPNEGO"},
	"exchangeMDB/mb1.corp.example": {"exchangeMDB/mb1"},
	"/owa/":                        {"/owa"},
	"/ecp/":                        {"/ecp"},
	"/OAB":                         {"/OAB/…"},
	"RPC_IN_DATA":                  {"RPC_OUT_DATA"}, // the script opens one connection for each
	"6":                            {"KDC_ERR_C_PRINCIPAL_UNKNOWN"},
	"7":                            {"KDC_ERR_S_PRINCIPAL_UNKNOWN"},
	"24":                           {"KDC_ERR_PREAUTH_FAILED", "KDC_ERR_PREAUTH_REQUIRED"},
}

func has(values []string, want string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		return v == want || slices.Contains(words[want], v) || strings.HasPrefix(v, want+" v") // an interface followed by its version
	}) ||
		want == "anonymous" && len(values) == 0
}

// TestCorpus reads every capture of the corpus with one, two and three workers. The
// output must be identical, and what cannot be read must cause an error that names the
// file.
func TestCorpus(t *testing.T) {
	corpus := os.Getenv("EXSPAN_CORPUS")
	if corpus == "" {
		t.Skip("EXSPAN_CORPUS is not set")
	}
	files, err := filepath.Glob(filepath.Join(corpus, "*", "*"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files in the corpus, %v", len(files), err)
	}
	damaged := 0
	for _, file := range files {
		for _, format := range []string{"ndjson", "table"} {
			var out [3]bytes.Buffer
			for i := range out {
				var stderr bytes.Buffer
				code := run([]string{"analyze", "--quiet", "--format", format, "--workers", fmt.Sprint(i + 1), file}, &out[i], &stderr)
				switch {
				case code == exitDone && withoutUnread(stderr.String()) == "":
				case code == exitError && strings.HasPrefix(withoutUnread(stderr.String()), "exspan: "+file+": ") && strings.Count(withoutUnread(stderr.String()), "\n") == 1:
					damaged++
				default:
					t.Errorf("%s: exit code %d: %s", file, code, &stderr)
				}
			}
			for i := range out[1:] {
				if !bytes.Equal(out[0].Bytes(), out[i+1].Bytes()) {
					t.Errorf("%s: %s differs between one and %d workers", file, format, i+2)
				}
			}
		}
	}
	t.Logf("%d files, %d damaged", len(files), damaged/6)
}

// withoutUnread returns text without the lines about parts of the input that were not
// read, and about limits that were reached.
func withoutUnread(text string) string {
	var rest strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, " were not read: ") && !strings.Contains(line, " was not read: ") && !strings.Contains(line, " cut by the snap length; ") &&
			!strings.HasPrefix(line, "exspan: Limits reached: ") {
			rest.WriteString(line)
		}
	}
	return rest.String()
}
