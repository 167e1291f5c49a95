package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/rules"
)

// drawnGraph is what a test reads of a diagram.
type drawnGraph struct {
	Nodes []struct {
		ID, Title string
		Hosts     []struct {
			Name, Address string
			Roles         []string
		}
	}
	Arrows []struct {
		Number   int
		From, To string
		State    string
		Pairs    []drawnPair
	}
}

type drawnPair struct {
	Client, Server, Proto, State string
	Port                         uint16
	Paths                        []string
}

func diagramText(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"diagram", "-q"}, args...), &stdout, &stderr); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr.String())
	}
	return stdout.Bytes()
}

// TestDiagramOfRecordings reads the diagrams of all recordings. They show exactly the
// hosts and the paths that the recordings' scripts set up, as an expert labelled their
// flows, but for the traffic of Windows itself.
func TestDiagramOfRecordings(t *testing.T) {
	disagree := readList(t, filepath.Join(testdataDir, "labels", "disagree.txt"))
	for _, r := range recordings(t) {
		data, err := os.ReadFile(testdata(r.name + ".truth.json"))
		if err != nil {
			t.Fatal(err)
		}
		var truth struct {
			Hosts []struct {
				Name, Address string
				Roles         []string
			}
		}
		if err := json.Unmarshal(data, &truth); err != nil {
			t.Fatal(err)
		}
		address := map[string]string{}
		for _, h := range truth.Hosts {
			address[h.Name] = h.Address
		}
		var g drawnGraph
		if err := json.Unmarshal(diagramText(t, "--site", r.site(), "--format", "json", r.capture()), &g); err != nil {
			t.Fatal(err)
		}
		shown, asked := map[string][]drawnPair{}, map[string]bool{}
		for _, a := range g.Arrows {
			for _, p := range a.Pairs {
				shown[p.Client+" "+p.Server] = append(shown[p.Client+" "+p.Server], p)
			}
		}
		hosts, allowed := map[string]bool{}, map[string]bool{} // that must and that may be drawn
		for _, row := range readTable(t, filepath.Join(testdataDir, "labels", r.name+".tsv")) {
			client, server, _ := strings.Cut(row["flow"], " > ")
			clientHost, _, _ := cutLast(client, ":")
			serverHost, _, _ := cutLast(server, ":")
			if a := address[clientHost]; a != "" {
				clientHost = a
			}
			if a := address[serverHost]; a != "" {
				serverHost = a
			}
			key := clientHost + " " + serverHost
			if row["status"] == "unrelated" {
				continue
			}
			allowed[clientHost], allowed[serverHost] = true, true
			if _, ok := disagree[r.name+" "+row["flow"]+" frame "+row["frame"]]; ok {
				asked[key], asked[serverHost+" "+clientHost] = true, true
				continue
			}
			asked[key] = true
			if strings.Contains(row["path"], "windows.") && shown[key] == nil {
				delete(asked, key) // it may be the traffic of Windows itself
				continue
			}
			hosts[clientHost], hosts[serverHost] = true, true
			if !slices.ContainsFunc(shown[key], func(p drawnPair) bool { return p.fits(row["status"], row["path"]) }) && !strings.Contains(row["path"], "windows.") {
				t.Errorf("%s: %s %s %s is not shown", r.name, row["flow"], row["status"], row["path"])
			}
		}
		for key := range shown {
			if !asked[key] {
				t.Errorf("%s: %s is shown, and no script set it up", r.name, key)
			}
		}
		drawn := map[string]bool{}
		for _, n := range g.Nodes {
			for _, h := range n.Hosts {
				drawn[h.Address] = true
				for _, want := range truth.Hosts {
					if want.Address == h.Address && !slices.Contains(want.Roles, "client") && !slices.Contains(want.Roles, "admin") && len(want.Roles) > 0 &&
						!slices.ContainsFunc(want.Roles, func(role string) bool { return slices.Contains(h.Roles, role) }) {
						t.Errorf("%s: %s has the roles %v, want %v", r.name, want.Name, h.Roles, want.Roles)
					}
				}
			}
		}
		for h := range hosts {
			if !drawn[h] {
				t.Errorf("%s: the host %s is not drawn", r.name, h)
			}
		}
		for h := range drawn {
			if a, err := netip.ParseAddr(h); err != nil || !allowed[a.String()] {
				t.Errorf("%s: the host %s is drawn, and no script set up what it does", r.name, h)
			}
		}
	}
}

// fits reports whether a pair is what a label wants: one of the statuses, and one of the
// alternatives of paths, joined by "|", of which each may name several, joined by commas.
func (p *drawnPair) fits(status, paths string) bool {
	for s := range strings.SplitSeq(status, "|") {
		switch {
		case s == "unexpected" && p.State == "unexpected", s == "undetermined" && len(p.Paths) == 0:
			return true
		case s != "expected" && s != "deviating":
			continue
		}
		if paths == "" && len(p.Paths) > 0 {
			return true
		}
		for alternative := range strings.SplitSeq(paths, "|") {
			ids := strings.Split(alternative, ",")
			if !slices.ContainsFunc(ids, func(id string) bool {
				return !slices.ContainsFunc(p.Paths, func(have string) bool { return rules.Fits(id, have) })
			}) {
				return true
			}
		}
	}
	return false
}

// wellFormed reads XML to its end.
func wellFormed(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// hostileMailSite writes the site file of the recording of mail with a name that tries to
// break out of each format, and returns its name.
func hostileMailSite(t *testing.T) string {
	t.Helper()
	site := filepath.Join(t.TempDir(), "site.yaml")
	text, err := os.ReadFile(testdata("mail.site.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	hostile := strings.Replace(string(text), "name: hub1", `name: "</text><script>alert(1)</script>\"];\n%%{init}%% end & 'x' hub1"`, 1)
	if err := os.WriteFile(site, []byte(hostile), 0o644); err != nil {
		t.Fatal(err)
	}
	return site
}

// TestDiagramFormats writes the diagram of a capture with names that try to break out in
// each format: the same input gives the same bytes for any number of processors, and
// what reads the format reads it.
func TestDiagramFormats(t *testing.T) {
	site := hostileMailSite(t)
	var g drawnGraph
	if err := json.Unmarshal(diagramText(t, "--site", site, "--format", "json", testdata("mail.pcapng")), &g); err != nil {
		t.Fatal(err)
	}
	boxes, arrows := len(g.Nodes), len(g.Arrows)
	for _, format := range diagramFormats() {
		args := []string{"--site", site, "--format", format, testdata("mail.pcapng")}
		one, two := diagramText(t, append(args, "--workers", "1")...), diagramText(t, append(args, "--workers", "2")...)
		if !bytes.Equal(one, two) {
			t.Errorf("%s: two runs differ", format)
		}
		switch format {
		case "svg", "drawio":
			if err := wellFormed(one); err != nil {
				t.Errorf("%s: %v", format, err)
			}
			if bytes.Contains(one, []byte("<script")) || bytes.Contains(one, []byte("href")) || bytes.Count(one, []byte("://")) > 1 {
				t.Errorf("%s: it runs or asks for something", format)
			}
		case "png":
			img, err := png.Decode(bytes.NewReader(one))
			if err != nil || img.Bounds().Dx() < 500 {
				t.Errorf("png: %v, %v", img, err)
			}
		case "dot":
			if out := readWith(t, "dot", one, "-Tplain"); out != "" && (strings.Count(out, "\nnode ") != boxes || strings.Count(out, "\nedge ") != arrows) {
				t.Errorf("Graphviz reads other boxes and arrows than %d and %d:\n%s", boxes, arrows, out)
			}
		case "mermaid":
			for line := range strings.Lines(string(one)) {
				if n := strings.Count(line, `"`); n != 0 && n != 2 {
					t.Errorf("mermaid: %s", line)
				}
			}
		}
	}
}

// readWith gives text to a program, and returns what it prints, or "" if it is not there.
func readWith(t *testing.T, program string, text []byte, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Logf("%s is not installed", program)
		return ""
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || len(out) == 0 || stderr.Len() > 0 {
		t.Errorf("%s: %v: %s", program, err, stderr.String())
	}
	return string(out)
}

// TestDiagramWithoutCapture draws what is documented for each version.
func TestDiagramWithoutCapture(t *testing.T) {
	for _, version := range []string{"2000", "2003", "2007", "2010", "2013", "2016", "2019", "se"} {
		var g drawnGraph
		if err := json.Unmarshal(diagramText(t, "--exchange", version, "--format", "json"), &g); err != nil {
			t.Fatal(err)
		}
		if len(g.Nodes) < 6 || len(g.Arrows) < 10 {
			t.Errorf("%s: %d boxes, %d arrows", version, len(g.Nodes), len(g.Arrows))
		}
		for _, a := range g.Arrows {
			if a.State != "documented" {
				t.Errorf("%s: %+v", version, a)
			}
		}
	}
}
