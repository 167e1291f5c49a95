package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// explanation is the reason that exspan and tshark differ on a fact of a capture, and the
// number of differing values.
type explanation struct {
	count int
	why   string
}

// readExplanations reads a list of capture, fact, "ours" or "theirs", count and reason.
func readExplanations(t *testing.T, name string) map[string]explanation {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]explanation{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 5 || cells[4] == "" {
			t.Fatalf("%s: %q has not five columns", name, line)
		}
		n, err := strconv.Atoi(cells[3])
		if err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		out[strings.Join(cells[:3], "\t")] = explanation{n, cells[4]}
	}
	return out
}

// moreTsharkFacts lists facts to compare besides tsharkFacts: fields that identify a
// protocol by themselves, and those of SMB 1.
var moreTsharkFacts = []tsharkFact{
	{"tls.record.content_type", "tls", "", nil},
	{"ldap.messageID", "ldap", "", nil},
	{"dcerpc.ver", "dcerpc", "", nil},
	{"smb.path", "smb", "smb.share", func(s string) string { return strings.ToUpper(s[strings.LastIndexByte(s, '\\')+1:]) }},
	{"smb.file", "smb", "smb.pipe", func(s string) string { return strings.ToLower(strings.TrimPrefix(s, "\\")) }},
}

// convention is a difference in the meaning of a fact. It applies to all captures.
type convention struct {
	fact, alone string // alone is "ours" or "theirs"
	holds       func(value string, ours, theirs map[string]map[string]bool) bool
	why         string
}

type factsOfFlow = map[string]map[string]bool

var conventions = []convention{
	{"protocol", "theirs", func(v string, ours, _ factsOfFlow) bool {
		return (v == "kerberos" || v == "ntlm" || v == "dcerpc") && len(ours["protocol"]) > 0
	}, "tshark names the protocol of tokens and pipes inside another protocol, exspan that of the flow"},
	{"protocol", "theirs", func(v string, ours, _ factsOfFlow) bool { return v == "tls" && ours["encryption"]["tls"] },
		"exspan names the protocol that STARTTLS was said in"},
	{"protocol", "ours", func(v string, _, theirs factsOfFlow) bool {
		return !slices.ContainsFunc(tsharkFacts, func(f tsharkFact) bool { return f.protocol == v })
	}, "no field of this protocol is asked of tshark"},
	{"http.host", "", func(v string, ours, theirs factsOfFlow) bool {
		host, _, _ := strings.Cut(v, ":")
		return ours["http.host"][strings.ToLower(host)] && slices.ContainsFunc(slices.Collect(maps.Keys(theirs["http.host"])), func(t string) bool {
			t, _, _ = strings.Cut(t, ":")
			return strings.EqualFold(t, host)
		})
	}, "exspan leaves out the port and writes names in lower case"},
	{"http.host", "ours", func(_ string, _, theirs factsOfFlow) bool { return len(theirs["http.method"]) > 0 },
		"exspan takes the host of a request to a proxy from its URI (RFC 9112 section 3.2.2)"},
	{"kerberos.message", "theirs", func(_ string, ours, _ factsOfFlow) bool { return !ours["protocol"]["kerberos"] },
		"exspan reads tokens for their service and realm alone"},
	{"http.status", "ours", func(v string, _, theirs factsOfFlow) bool {
		return strings.HasSuffix(v, "xx") && slices.ContainsFunc(slices.Collect(maps.Keys(theirs["http.status"])), func(t string) bool { return t[0] == v[0] })
	}, "exspan keeps the class of codes that no rule asks for"},
	{"http.status", "theirs", func(v string, ours, _ factsOfFlow) bool { return ours["http.status"][v[:1]+"xx"] },
		"exspan keeps the class of codes that no rule asks for"},
	{"http.status", "theirs", func(v string, _, _ factsOfFlow) bool { return v == "100" }, "exspan waits for the final answer (RFC 9110 section 15.2)"},
	{"rpc.auth_level", "ours", func(v string, _, _ factsOfFlow) bool { return v == "none" }, "tshark has no field for calls without a security trailer"},
	{"smb.pipe", "theirs", func(v string, ours, _ factsOfFlow) bool {
		return ours["smb.share"]["disk"] || ours["smb.share"]["SYSVOL"] || ours["smb.share"]["NETLOGON"] || ours["smb.share"]["ADMIN$"]
	},
		"a file of a disk share is no pipe"},
	{"smb.share", "theirs", func(v string, ours, _ factsOfFlow) bool { return ours["smb.share"]["disk"] }, "exspan does not name the disk shares of others"},
	{"smb.share", "ours", func(v string, _, theirs factsOfFlow) bool { return v == "disk" && len(theirs["smb.share"]) > 0 },
		"exspan does not name the disk shares of others"},
	{"ntlm.server", "ours", func(_ string, ours, _ factsOfFlow) bool {
		return ours["protocol"]["nmf"] || ours["protocol"]["nns"] || ours["protocol"]["imap"] || ours["protocol"]["pop3"] || ours["protocol"]["smtp"]
	}, "tshark does not decode the tokens of this protocol"},
}

// conventional reports whether a convention explains a value that only one side read.
func conventional(fact, alone, value string, ours, theirs factsOfFlow) bool {
	return slices.ContainsFunc(conventions, func(c convention) bool {
		return c.fact == fact && (c.alone == "" || c.alone == alone) && c.holds(value, ours, theirs)
	})
}

// TestFactsAgainstTshark compares the facts of each flow in exspan and in tshark. "ours"
// are values that only exspan reads, and "theirs" are values that only tshark reads. A
// convention or an entry in testdata/differential.tsv must explain every difference.
func TestFactsAgainstTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	var files []string
	for _, r := range recordings(t) {
		files = append(files, r.capture())
	}
	corpus := os.Getenv("EXSPAN_CORPUS")
	if corpus != "" {
		err := filepath.WalkDir(corpus, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(path, "cap") && filepath.Base(filepath.Dir(path)) != "malformed" && !strings.HasSuffix(path, ".md") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	type sum struct{ compared, agree, ours, theirs, explained int }
	sums := map[string]*sum{}
	explained := readExplanations(t, filepath.Join(testdataDir, "differential.tsv"))
	for _, file := range files {
		name := filepath.Base(file)
		ours, theirs := exspanReads(t, file), tsharkReads(t, file, slices.Concat(tsharkFacts, moreTsharkFacts))
		differ := map[string][]string{}
		for _, fact := range tsharkFactNames() {
			s := sums[fact]
			if s == nil {
				s = &sum{}
				sums[fact] = s
			}
			for _, flow := range slices.Sorted(maps.Keys(union(ours, theirs))) {
				a, b := ours[flow][fact], theirs[flow][fact]
				for _, v := range slices.Sorted(maps.Keys(union(a, b))) {
					s.compared++
					switch {
					case a[v] && b[v]:
						s.agree++
					case fact == "auth" && v != "user-pass" && v != "login":
						s.compared-- // tshark has no field for the others
					case a[v]:
						s.ours++
						if conventional(fact, "ours", v, ours[flow], theirs[flow]) {
							s.explained++
							continue
						}
						differ[name+"\t"+fact+"\tours"] = append(differ[name+"\t"+fact+"\tours"], flow+": "+v)
					default:
						s.theirs++
						if conventional(fact, "theirs", v, ours[flow], theirs[flow]) {
							s.explained++
							continue
						}
						differ[name+"\t"+fact+"\ttheirs"] = append(differ[name+"\t"+fact+"\ttheirs"], flow+": "+v)
					}
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(differ)) {
			x := explained[key]
			if n := len(differ[key]); n != x.count {
				t.Errorf("%s: %d values, %d are explained:\n%s", key, n, x.count, strings.Join(differ[key][:min(n, 12)], "\n"))
				continue
			}
			sums[strings.Split(key, "\t")[1]].explained += x.count
		}
		for key, x := range explained {
			if strings.HasPrefix(key, name+"\t") && len(differ[key]) == 0 {
				t.Errorf("%s: nothing differs, %d are explained", key, x.count)
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%-20s %8s %8s %8s %8s %9s\n", "fact", "compared", "agree", "ours", "theirs", "explained")
	for _, fact := range slices.Sorted(maps.Keys(sums)) {
		s := sums[fact]
		fmt.Fprintf(&out, "%-20s %8d %8d %8d %8d %9d\n", fact, s.compared, s.agree, s.ours, s.theirs, s.explained)
	}
	t.Logf("%d captures\n%s", len(files), &out)
}

// union returns the keys of two maps.
func union[V any](a, b map[string]V) map[string]bool {
	out := map[string]bool{}
	for k := range a {
		out[k] = true
	}
	for k := range b {
		out[k] = true
	}
	return out
}
