package main

import (
	"archive/zip"
	"bytes"
	"debug/pe"
	"encoding/pem"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// tool returns the path of a program, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

// mustRun runs a program that must succeed and returns its output.
func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestUnit checks the units with systemd: their exposure must be at most 2.0 of 10, and
// all directives must be known.
func TestUnit(t *testing.T) {
	for _, tt := range []struct{ program, file, capabilities string }{
		{"exspan", "package/exspan.service", "CAP_NET_RAW"},
		{"exspan-hub", "../exspan-hub/package/exspan-hub.service", ""},
	} {
		t.Run(tt.program, func(t *testing.T) {
			analyze := tool(t, "systemd-analyze")
			t.Log(mustRun(t, analyze, "security", "--offline=true", "--threshold=20", tt.file))
			unit, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			// The program is not installed where tests run.
			file := filepath.Join(t.TempDir(), tt.program+".service")
			if err := os.WriteFile(file, bytes.Replace(unit, []byte("/usr/bin/"+tt.program), []byte("/bin/true"), 1), 0o644); err != nil {
				t.Fatal(err)
			}
			if out := mustRun(t, analyze, "verify", "--man=no", file); strings.Contains(out, tt.program+".service") {
				t.Error(out)
			}
			for _, name := range []string{"CapabilityBoundingSet", "AmbientCapabilities"} {
				if got := regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllSubmatch(unit, -1); len(got) != 1 || string(got[0][1]) != tt.capabilities {
					t.Errorf("%s is %s", name, got)
				}
			}
			if !regexp.MustCompile(`(?m)^StateDirectory=` + tt.program + `$`).Match(unit) {
				t.Error("there is no folder for what the service keeps")
			}
		})
	}
}

// inUse returns a sample file with its commented-out lines enabled. Remarks begin with "#
// " and a word; other comments can be enabled.
func inUse(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range strings.Split(string(data), "\n") {
		if !regexp.MustCompile(`^# \S`).MatchString(l) {
			lines = append(lines, strings.TrimPrefix(l, "#"))
		}
	}
	return strings.Join(lines, "\n")
}

// TestSamples reads the installed files with exspan, unchanged and with everything
// enabled.
func TestSamples(t *testing.T) {
	dir := t.TempDir()
	web := filepath.Join(dir, "web.yaml")
	monitor := strings.NewReplacer("/etc/exspan/web.yaml", web, "/run/credentials/exspan.service", dir).Replace(inUse(t, "package/monitor.yaml"))
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	files := map[string]string{"monitor.yaml": monitor, "site.yaml": inUse(t, "package/site.yaml"), "web.yaml": "", "sensor1.nk": string(seed), "hub.crt": string(certificate)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"monitor", "--dump-filter", "--config.file", "package/monitor.yaml"},
		{"monitor", "--dump-filter", "--config.file", filepath.Join(dir, "monitor.yaml")},
		{"rules", "check", filepath.Join(dir, "site.yaml")},
	} {
		var out bytes.Buffer
		if code := run(args, &out, &out); code != exitDone {
			t.Errorf("%s: exit code %d\n%s", strings.Join(args, " "), code, out.String())
		}
	}
	if got := strings.Count(files["site.yaml"], "roles:"); got < 5 {
		t.Errorf("%d servers in use in the site file", got)
	}
	t.Run("prometheus", func(t *testing.T) {
		promtool := tool(t, "promtool")
		config, err := os.ReadFile("package/prometheus.yml")
		if err != nil {
			t.Fatal(err)
		}
		mixin, err := filepath.Abs("../../exporter/prometheus/mixin")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "prometheus.yml")
		config = bytes.ReplaceAll(config, []byte("/usr/share/exspan/mixin"), []byte(mixin))
		if err := os.WriteFile(file, config, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := mustRun(t, promtool, "check", "config", file); !strings.Contains(out, "18 rules found") {
			t.Errorf("the alerts are not loaded:\n%s", out)
		}
		if !strings.Contains(string(config), listenAddress) {
			t.Errorf("the default address %s is not scraped", listenAddress)
		}
	})
	scripts, err := filepath.Glob("package/*.sh")
	if err != nil || len(scripts) != 6 {
		t.Errorf("scripts are %s (%v)", scripts, err)
	}
	for _, file := range scripts {
		mustRun(t, tool(t, "sh"), "-n", file)
	}
}

// TestCompletions loads the completions in the available shells.
func TestCompletions(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out, stderr bytes.Buffer
		if code := run([]string{"completion", shell}, &out, &stderr); code != exitDone {
			t.Fatalf("%s: exit code %d: %s", shell, code, stderr.String())
		}
		file := filepath.Join(t.TempDir(), "exspan")
		if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(shell, func(t *testing.T) { mustRun(t, tool(t, shell), "-n", file) })
	}
}

// pkg is what a package of a program must contain.
type pkg struct {
	program   string
	files     []string // besides those that each package has
	config    []string
	libraries []string // that have the same name in all distributions
}

var pkgs = []pkg{
	{"exspan", []string{"/usr/share/doc/exspan/examples/prometheus.yml", "/usr/share/exspan/mixin/exspan-alerts.yaml", "/usr/share/exspan/mixin/exspan-rules.yaml",
		"/usr/share/exspan/mixin/exspan-dashboard.json", "/usr/share/man/man1/exspan-monitor.1.gz"},
		[]string{"/etc/exspan/monitor.yaml", "/etc/exspan/site.yaml"}, []string{"libc.so.6", "libdbus-1.so.3"}},
	{"exspan-hub", []string{"/usr/share/man/man1/exspan-hub-user-add.1.gz"}, []string{"/etc/exspan-hub/hub.yaml"}, []string{"libc.so.6"}},
}

// all returns the files that a package must contain.
func (p *pkg) all() []string {
	return slices.Concat(p.files, p.config, []string{"/usr/bin/" + p.program, "/usr/lib/systemd/system/" + p.program + ".service",
		"/usr/share/bash-completion/completions/" + p.program, "/usr/share/man/man1/" + p.program + ".1.gz", "/usr/share/doc/" + p.program + "/README.md"})
}

// TestPackages inspects the packages that "make packages" built.
func TestPackages(t *testing.T) {
	dist := os.Getenv("EXSPAN_PACKAGES")
	if dist == "" {
		t.Skip("EXSPAN_PACKAGES is not set; make packages does")
	}
	one := func(t *testing.T, pattern string) string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dist, pattern))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %d files (%v)", pattern, len(files), err)
		}
		return files[0]
	}
	t.Run("zip", func(t *testing.T) {
		z, err := zip.OpenReader(one(t, "*_windows_amd64.zip"))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		checkExe(t, &z.Reader)
	})
	for _, p := range pkgs {
		t.Run(p.program, func(t *testing.T) {
			t.Run("deb", func(t *testing.T) { p.checkDeb(t, one(t, p.program+"_*.deb")) })
			t.Run("rpm", func(t *testing.T) { p.checkRPM(t, one(t, p.program+"-[0-9]*.rpm")) })
		})
	}
}

func (p *pkg) checkDeb(t *testing.T, deb string) {
	dpkg := tool(t, "dpkg-deb")
	root := t.TempDir()
	mustRun(t, dpkg, "-x", deb, root)
	for _, file := range p.all() {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Error(err)
		}
	}
	program := filepath.Join(root, "usr/bin", p.program)
	version := mustRun(t, program, "--version")
	if !strings.HasPrefix(version, p.program+" ") {
		t.Error(version)
	}
	if lintian, err := exec.LookPath("lintian"); err == nil {
		if out, err := exec.Command(lintian, "--allow-root", "--fail-on", "error,warning", deb).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("lintian: %v\n%s", err, out)
		}
	}
	info := mustRun(t, dpkg, "-I", deb, "conffiles")
	if got := strings.Fields(info); !slices.Equal(got, p.config) {
		t.Errorf("configuration files are %q", got)
	}
	control := t.TempDir()
	mustRun(t, dpkg, "-e", deb, control)
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		script, err := os.ReadFile(filepath.Join(control, name))
		if err != nil {
			t.Error(err)
		}
		for _, unit := range regexp.MustCompile(`[\w-]+\.service`).FindAllString(string(script), -1) {
			if unit != p.program+".service" {
				t.Errorf("%s is about %s", name, unit)
			}
		}
	}
	if readelf, err := exec.LookPath("readelf"); err == nil {
		needed := regexp.MustCompile(`Shared library: \[(.*?)\]`).FindAllStringSubmatch(mustRun(t, readelf, "-d", program), -1)
		for _, n := range needed {
			if !slices.Contains(p.libraries, n[1]) {
				t.Errorf("the program needs %s", n[1])
			}
		}
	}
}

func (p *pkg) checkRPM(t *testing.T, file string) {
	rpm := tool(t, "rpm")
	list := strings.Fields(mustRun(t, rpm, "-qpl", file))
	for _, file := range p.all() {
		if !slices.Contains(list, file) {
			t.Errorf("%s is missing", file)
		}
	}
	config := strings.Fields(mustRun(t, rpm, "-qpc", file))
	if !slices.Equal(config, p.config) {
		t.Errorf("configuration files are %q", config)
	}
}

// checkExe verifies that the Windows program starts without Npcap: it loads that library
// only when it captures, and only system libraries when it starts.
func checkExe(t *testing.T, z *zip.Reader) {
	t.Helper()
	f, err := z.Open("exspan.exe")
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := exe.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := exe.ImportedSymbols()
	if err != nil || len(symbols) == 0 {
		t.Fatalf("%d imported symbols, %v", len(symbols), err)
	}
	for _, s := range append(libraries, symbols...) {
		if strings.Contains(strings.ToLower(s), "pcap") {
			t.Errorf("the program needs %s", s)
		}
	}
}
