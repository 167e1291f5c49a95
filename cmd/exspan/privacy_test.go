package main

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/classify/observe/observetest"
)

// secret is a text that must not be printed. It is searched for anywhere, or only as a
// separate word if its letters can occur in other words.
type secret struct {
	text string // in lower case
	word bool
}

// in returns the position of the secret in a lower-case text, or -1.
func (s secret) in(text string) int {
	for from := 0; ; {
		i := strings.Index(text[from:], s.text)
		if i < 0 {
			return -1
		}
		i += from
		if !s.word || !wordAt(text, i-1) && !wordAt(text, i+len(s.text)) {
			return i
		}
		from = i + 1
	}
}

func wordAt(text string, i int) bool {
	if i < 0 || i >= len(text) {
		return false
	}
	c := text[i]
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c >= 0x80
}

// scriptSecrets returns the passwords, users, mail addresses, parts of SIP addresses and
// query values in the scripts that recorded the captures.
func scriptSecrets(t *testing.T) []secret {
	t.Helper()
	patterns := []struct {
		expr *regexp.Regexp
		word bool
	}{
		{regexp.MustCompile(`(Pa55word[.\w]*)`), false},
		{regexp.MustCompile(`([\w.+-]+@[\w-]+\.example)\b`), false},
		{regexp.MustCompile(`"([\w-]+)": "Pa55word`), true},
		{regexp.MustCompile(`CORP\\+([a-z]\w+)`), true},
		{regexp.MustCompile(`sips?:(\w+@)`), false},
		{regexp.MustCompile(`[?&]((?:User|DeviceId|Email|MailboxId|url|PSVersion|module)=[^&"'\s]+)`), false},
		{regexp.MustCompile(`DeviceId=(\w+)`), true},
	}
	found := map[secret]bool{}
	err := filepath.WalkDir("../../testdata/record", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, p := range patterns {
			for _, m := range p.expr.FindAllSubmatch(data, -1) {
				found[secret{strings.ToLower(string(m[1])), p.word}] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []secret{{"pa55word.alice", false}, {"bob@corp.example", false}, {"svc-hub", true}, {"um@", false}, {"deviceid=a1b2", false}} {
		if !found[want] {
			t.Errorf("%q is no longer in the scripts; the patterns need an update", want.text)
		}
	}
	var all []secret
	for s := range found {
		// The name of a shell variable is not a secret.
		if !strings.ContainsAny(s.text, "$%") {
			all = append(all, s)
		}
	}
	return all
}

// tsharkSecrets returns the users, mail addresses, passwords, query values and cookies
// that tshark reads in a capture.
func tsharkSecrets(t *testing.T, file string) []secret {
	t.Helper()
	users := []string{"ntlmssp.auth.username", "kerberos.CNameString", "http.authbasic", "imap.request.username", "imap.request.password",
		"pop.request.parameter", "sip.from.user", "sip.to.user", "sip.auth.username", "ldap.name", "smtp.auth.username", "smtp.auth.password",
		"smtp.auth.username_password"}
	whole := []string{"smtp.req.parameter", "http.request.uri.query", "http.cookie", "http.set_cookie"}
	// These names identify a host, which may be printed.
	hosts := []string{"ntlmssp.auth.hostname", "ntlmssp.challenge.target_name", "kerberos.SNameString", "dns.qry.name", "kerberos.realm", "http.host",
		"http.request.uri.path"}
	filter := "ntlmssp or kerberos or http or imap or pop or sip or ldap or smtp or dns"
	fields := slices.Concat(users, whole, hosts)
	// These words also occur in the output for other reasons.
	exclude := map[string]bool{"anonymous": true, "ntlm": true, "caller": true, "options": true}
	found := map[secret]bool{}
	for _, row := range observetest.Tshark(t, file, filter, fields) {
		for i, cell := range row {
			for _, v := range strings.Split(strings.ToLower(cell), ",") {
				v = strings.TrimSpace(v)
				switch {
				case len(v) < 4 || strings.HasSuffix(v, "$"):
				case i >= len(users)+len(whole):
					exclude[v] = true
					for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == '.' || r == '/' }) {
						exclude[part] = true
					}
				case fields[i] == "smtp.req.parameter":
					if _, address, ok := strings.Cut(v, "<"); ok && strings.Contains(address, "@") {
						address, _, _ = strings.Cut(address, ">")
						found[secret{address, false}] = true
					}
				case fields[i] == "http.request.uri.query":
					for _, pair := range strings.Split(v, "&") {
						// Words that consist only of letters also occur in paths.
						if _, value, ok := strings.Cut(pair, "="); ok && len(value) >= 6 && strings.ContainsAny(value, "0123456789@%") {
							found[secret{value, true}] = true
						}
					}
				case fields[i] == "http.cookie", fields[i] == "http.set_cookie":
					for _, pair := range strings.Split(v, ";") {
						if name, value, ok := strings.Cut(pair, "="); ok && len(value) >= 8 && !strings.Contains(" domain path expires max-age", strings.TrimSpace(name)) {
							found[secret{value, true}] = true
						}
					}
				case fields[i] == "http.authbasic":
					user, password, _ := strings.Cut(v, ":")
					found[secret{user, true}], found[secret{password, true}] = true, true
				case strings.Contains(fields[i], "sip.") && len(v) < 6 || strings.Contains(v, "=") && fields[i] == "pop.request.parameter":
					// Short numbers occur everywhere.
					found[secret{v + "@", false}] = true
				default:
					found[secret{v, true}] = true
					if raw, err := base64.StdEncoding.DecodeString(v); err == nil && len(raw) > 5 {
						found[secret{strings.ToLower(string(raw)), true}] = true
					}
				}
			}
		}
	}
	var all []secret
	for s := range found {
		if !exclude[s.text] && len(s.text) >= 4 {
			all = append(all, s)
		}
	}
	return all
}

// captures returns the recorded captures and those of the corpus.
func captures(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/*.pcapng")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded captures: %v", err)
	}
	if dir := os.Getenv("EXSPAN_CORPUS"); dir != "" {
		more, _ := filepath.Glob(filepath.Join(dir, "*", "*.*cap*"))
		for _, file := range more {
			if filepath.Base(filepath.Dir(file)) != "malformed" {
				files = append(files, file)
			}
		}
	}
	return files
}

// views lists the ways to look at a capture.
var views = [][]string{
	{"--format", "table"}, {"--format", "ndjson"}, {"--format", "csv"}, {"--calls", "--format", "table"}, {"--calls", "--format", "ndjson"},
}

// TestNoSecrets looks at every capture in every way and verifies that no name, password,
// mail address, number or query of a person is printed.
func TestNoSecrets(t *testing.T) {
	fromScripts := scriptSecrets(t)
	_, err := exec.LookPath("tshark")
	haveTshark := err == nil
	total := 0
	for _, file := range captures(t) {
		recorded := strings.Contains(file, "testdata")
		var secrets []secret
		if recorded {
			secrets = fromScripts
		}
		ways := append(slices.Clone(views), []string{"-o", "-"}, []string{"--format", "md", "-o", "-"}) // pages of report
		if !recorded {
			ways = [][]string{{"--format", "ndjson"}, {"--calls", "--format", "ndjson"}} // they contain everything that the others contain
		}
		if haveTshark {
			secrets = slices.Concat(secrets, tsharkSecrets(t, file))
		}
		total += len(secrets)
		for _, view := range ways {
			args := []string{"analyze", "-q"}
			if slices.Contains(view, "-o") {
				args = []string{"report", "-q"}
			}
			var stdout, stderr bytes.Buffer
			if code := run(slices.Concat(args, view, []string{file}), &stdout, &stderr); code > 1 {
				t.Fatalf("%s: exit code %d: %s", file, code, &stderr)
			}
			text := strings.ToLower(stdout.String() + stderr.String())
			for _, s := range secrets {
				if i := s.in(text); i >= 0 {
					t.Errorf("%s %s: %q is printed: ...%s...", filepath.Base(file), strings.Join(view, " "), s.text,
						text[max(0, i-60):min(len(text), i+len(s.text)+60)])
				}
			}
		}
	}
	if total == 0 {
		t.Error("no secret was searched for")
	}
}

// TestIdentities verifies that names are printed on request.
func TestIdentities(t *testing.T) {
	for _, c := range []struct {
		file, view string
		want       []string
	}{
		{"directory", "flows", []string{`"kerberos.client":["svc-mb"]`, `\\\\mb1\\logs`}},
		{"web", "flows", []string{`"kerberos.client":["administrator"]`, `"/nowhere/else"`, `"CN=mail.corp.example,O=Corp"`}},
		{"um-calls", "calls", []string{`"caller":"pbx","callee":"um"`}},
	} {
		args := []string{"analyze", "-q", "--format", "ndjson", "--include-identities", "../../testdata/" + c.file + ".pcapng"}
		if c.view == "calls" {
			args = append(args, "--calls")
		}
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code != 0 {
			t.Fatalf("%s: exit code %d: %s", c.file, code, &stderr)
		}
		for _, w := range c.want {
			if !strings.Contains(stdout.String(), w) {
				t.Errorf("%s: %s is not shown", c.file, w)
			}
		}
	}
}
