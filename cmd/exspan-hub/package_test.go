package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/exspan/exspan/cmd/internal/manpage/manpagetest"
)

// TestManPages writes the man pages, and checks them.
func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "man1")
	cmd := newRootCmd()
	cmd.SetArgs([]string{"man", dir})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	manpagetest.Check(t, newRootCmd(), dir, "2023-11-14")
}

// TestCompletions loads the completions in the available shells.
func TestCompletions(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			var out strings.Builder
			cmd := newRootCmd()
			cmd.SetArgs([]string{"completion", shell})
			cmd.SetOut(&out)
			if err := cmd.Execute(); err != nil {
				t.Fatal(err)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			file := filepath.Join(t.TempDir(), "exspan-hub")
			if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// TestSample starts from the installed file, as it is and with everything in it enabled.
func TestSample(t *testing.T) {
	sample, err := os.ReadFile("package/hub.yaml")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	certificate := t.TempDir()
	if err := makeCertificate(filepath.Join(certificate, "hub.crt"), filepath.Join(certificate, "hub.key"), "localhost"); err != nil {
		t.Fatal(err)
	}
	options := func(text string, args ...string) (*hub, error) {
		file := filepath.Join(t.TempDir(), "hub.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h := &hub{}
		cmd := newCmd(h)
		if err := cmd.ParseFlags(append(args, "--data", t.TempDir(), "--config.file", file)); err != nil {
			t.Fatal(err)
		}
		if err := h.configure(cmd); err != nil {
			return nil, err
		}
		_, err := h.options(admin)
		return h, err
	}
	if h, err := options(string(sample)); err != nil || h.listen != "localhost:4222" {
		t.Errorf("%+v: %v", h, err)
	}
	// Remarks begin with "# "; what can be enabled with "#" and the key.
	enabled := regexp.MustCompile(`(?m)^#(\S)`).ReplaceAllString(string(sample), "$1")
	enabled = strings.ReplaceAll(enabled, "/run/credentials/exspan-hub.service", certificate)
	h, err := options(enabled, "--max-facts", "7")
	if err != nil || h.cert == "" || h.maxBytes != 1<<30 || h.maxKeys != 7 {
		t.Errorf("%+v: %v\n%s", h, err, enabled)
	}
	for text, want := range map[string]string{
		"listn: x":          `hub.yaml:1:1: unknown key "listn"; the keys are the flags' long names`,
		"max-facts: many":   "hub.yaml:1:12: max-facts: ",
		"config.file: a":    "unknown key",
		"filter: tcp":       "unknown key",
		"listen: localhost": "--listen: ",
	} {
		if _, err := options(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	cmd := newRootCmd()
	cmd.SetArgs([]string{"--config.file", filepath.Join(certificate, "none")})
	cmd.SetErr(io.Discard)
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "--config.file: ") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestTwoHubs starts a second hub on the folder and on the address of a first one.
func TestTwoHubs(t *testing.T) {
	first := start(t, newHub(t))
	folder, address := newHub(t), newHub(t)
	folder.dir, address.listen = first.dir, first.listen
	err := address.run(t.Context(), io.Discard)
	if !errors.As(err, new(runError)) || !strings.Contains(err.Error(), "--listen: listen tcp") {
		t.Errorf("two hubs on one address: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := folder.run(t.Context(), io.Discard); !errors.As(err, new(runError)) || !errors.Is(err, errInUse) {
		t.Errorf("two hubs on one folder: %v", err)
	}
	first.stop()
	first.restart() // the lock is gone
}

// TestOwner adds a user as root to the folder of a service that is another user.
func TestOwner(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h := newHub(t)
	if err := os.Chown(h.dir, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "a.nk")
	if err := h.add(user{Name: "a", Realm: "default"}, key); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{h.usersFile(): "12345 12346 600\n", key: "0 0 600\n"} {
		if got, err := exec.Command("stat", "-c", "%u %g %a", file).Output(); err != nil || string(got) != want {
			t.Errorf("%s: owner and mode are %q, want %q (%v)", file, got, want, err)
		}
	}
}
