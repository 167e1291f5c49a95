package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/exspan/exspan/capture/capturetest"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/report"
	"github.com/exspan/exspan/rules"
)

// A browser is a Chromium with one tab that keeps what goes wrong in it.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	home     string   // the begin of URLs that may be asked for
	trouble  []string // errors and messages of the console
	requests []string // of anything but the page itself
}

// newBrowser starts Chromium, or skips the test where there is none.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium is installed")
	}
	// Not a folder of the test: Chromium may write to it until the very end.
	profile, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(2*time.Minute))
	if os.Getuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // which waits for the end of Chromium
	b := &browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.run(network.Enable(), runtime.Enable(), cdplog.Enable())
	return b
}

func (b *browser) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.trouble = append(b.trouble, ev.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.trouble = append(b.trouble, fmt.Sprint(ev.Type, ev.Args))
	case *cdplog.EventEntryAdded:
		b.trouble = append(b.trouble, ev.Entry.Text)
	case *page.EventJavascriptDialogOpening:
		b.trouble = append(b.trouble, "dialog: "+ev.Message)
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(ev.Request.URL, "file:") && (b.home == "" || !strings.HasPrefix(ev.Request.URL, b.home)) {
			b.requests = append(b.requests, ev.Request.URL)
		}
	}
}

func (b *browser) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns the value of an expression as text.
func (b *browser) eval(js string) string {
	b.t.Helper()
	var v any
	b.run(chromedp.Evaluate(js, &v))
	return fmt.Sprint(v)
}

// clean verifies that nothing went wrong and nothing was asked for.
func (b *browser) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.trouble) > 0 || len(b.requests) > 0 {
		b.t.Errorf("console: %q; requests: %q", b.trouble, b.requests)
	}
}

// shots is a folder to which EXSPAN_SHOTS lets the tests write pictures, to be looked at.
var shots = os.Getenv("EXSPAN_SHOTS")

func (b *browser) shoot(name string, width, height int64, dark, full bool) {
	b.t.Helper()
	if shots == "" {
		return
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	var png []byte
	shot := chromedp.CaptureScreenshot(&png)
	if full {
		shot = chromedp.FullScreenshot(&png, 100)
	}
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.EmulateViewport(width, height), shot)
	if err := os.WriteFile(filepath.Join(shots, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) print(name string) {
	b.t.Helper()
	if shots == "" {
		return
	}
	b.run(chromedp.ActionFunc(func(ctx context.Context) error {
		pdf, _, err := page.PrintToPDF().WithPreferCSSPageSize(true).Do(ctx)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(shots, name+".pdf"), pdf, 0o644)
	}))
}

// writeReport writes a report on files and returns its name.
func writeReport(t *testing.T, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "report.html")
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"report", "-q", "-o", name}, args...), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return name
}

// TestReportInBrowser opens the report on a recording in Chromium.
func TestReportInBrowser(t *testing.T) {
	name := writeReport(t, "--site", "../../testdata/mail.site.yaml", "../../testdata/mail.pcapng")
	b := newBrowser(t)
	b.run(chromedp.EmulateViewport(1280, 900), chromedp.Navigate("file://"+name), chromedp.WaitReady("body"))

	t.Run("sort", func(t *testing.T) {
		b.t = t
		order := func() string {
			return b.eval(`Array.from(document.querySelectorAll("#paths-t tbody tr")).map(r => +r.cells[2].dataset.s).join()`)
		}
		sorted := func(sign string) string {
			return b.eval(`Array.from(document.querySelectorAll("#paths-t tbody tr")).map(r => +r.cells[2].dataset.s).sort((a, b) => ` + sign + `(a - b)).join()`)
		}
		b.run(chromedp.Click("#paths-t thead th:nth-child(3) button", chromedp.ByQuery))
		if got, want := order(), sorted("+"); got != want || strings.Count(want, ",") < 4 {
			t.Errorf("ascending: %s, want %s", got, want)
		}
		if got := b.eval(`document.querySelector("#paths-t thead th:nth-child(3)").getAttribute("aria-sort")`); got != "ascending" {
			t.Errorf("aria-sort %s", got)
		}
		// By keyboard: focus is on the button, and Enter presses it.
		b.run(chromedp.Focus("#paths-t thead th:nth-child(3) button", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
		if got, want := order(), sorted("-"); got != want {
			t.Errorf("descending: %s, want %s", got, want)
		}
	})
	t.Run("filter", func(t *testing.T) {
		b.t = t
		b.run(chromedp.SendKeys("#paths .tools input", "imap4", chromedp.ByQuery))
		shown := b.eval(`Array.from(document.querySelectorAll("#paths-t tbody tr:not([hidden])")).map(r => r.cells[0].firstChild.textContent).join()`)
		if shown != "IMAP4" {
			t.Errorf("rows %q", shown)
		}
		if got := b.eval(`document.querySelector("#paths .tools output").textContent`); !strings.HasPrefix(got, "1 of ") {
			t.Errorf("told %q", got)
		}
		if got := b.eval(`document.querySelector("#paths .tools input").labels[0].textContent`); got != "Filter rows" {
			t.Errorf("label %q", got)
		}
		b.run(chromedp.KeyEvent(kb.Backspace + kb.Backspace + kb.Backspace + kb.Backspace + kb.Backspace))
		if got := b.eval(`document.querySelectorAll("#paths-t tbody tr[hidden]").length`); got != "0" {
			t.Errorf("%s rows hidden without a filter", got)
		}
	})
	t.Run("matrix", func(t *testing.T) {
		b.t = t
		b.run(chromedp.Click("#roles-t td a", chromedp.ByQuery))
		if got := b.eval(`document.querySelector("#connections details").open && location.hash`); got != "#connections" {
			t.Errorf("at %s", got)
		}
		wanted := b.eval(`document.querySelector("#roles-t td a").dataset.f`)
		if got := b.eval(`Array.from(document.querySelectorAll("#connections-t tbody tr:not([hidden])")).every(r => r.cells[5].textContent === ` +
			fmt.Sprintf("%q", wanted) + `)`); got != "true" {
			t.Errorf("connections of others than %s", wanted)
		}
	})
	t.Run("diagram", func(t *testing.T) {
		b.t = t
		b.run(chromedp.Navigate("file://"+name), chromedp.Click(`.figure a[href="#arrow-4"] text`, chromedp.ByQuery))
		rows := b.eval(`Array.from(document.querySelectorAll("#connections-t tbody tr:not([hidden])")).map(r => r.cells[2].textContent + " " + r.cells[4].textContent).join()`)
		if rows != "465/tcp ✕ unexpected" {
			t.Errorf("arrow 4 leads to %q", rows)
		}
	})
	t.Run("keyboard", func(t *testing.T) {
		b.t = t
		b.run(chromedp.Navigate("file://"+name), chromedp.KeyEvent(kb.Tab))
		if got := b.eval(`document.activeElement.textContent`); got != "Skip to the content" {
			t.Errorf("the first stop is %q", got)
		}
		b.run(chromedp.KeyEvent(kb.Tab))
		if got := b.eval(`document.activeElement.textContent`); got != "What to do" {
			t.Errorf("the second stop is %q", got)
		}
		b.run(chromedp.Focus("#connections summary", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
		if got := b.eval(`document.querySelector("#connections details").open`); got != "true" {
			t.Error("Enter does not open the connections")
		}
	})
	t.Run("dark", func(t *testing.T) {
		b.t = t
		b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
		// Every colour of the diagram, made for white paper, has another one on dark ground.
		same := b.eval(`(() => { const hex = c => "#" + c.match(/\d+/g).slice(0, 3).map(n => (+n).toString(16).padStart(2, "0")).join("");
			const left = new Set();
			for (const x of document.querySelectorAll(".figure svg *")) for (const a of ["fill", "stroke"]) {
				const c = x.getAttribute(a);
				if (c && c !== "none" && hex(getComputedStyle(x)[a]) === c) left.add(c);
			}
			return Array.from(left).join(); })()`)
		if same != "" {
			t.Errorf("the same in the dark: %s", same)
		}
		b.run(emulation.SetEmulatedMedia())
	})
	t.Run("phone", func(t *testing.T) {
		b.t = t
		b.run(chromedp.Navigate("file://"+name), chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
		if got := b.eval(`document.documentElement.scrollWidth <= 390`); got != "true" {
			t.Errorf("the page is %s px wide", b.eval(`document.documentElement.scrollWidth`))
		}
	})
	b.t = t
	b.clean()
	b.shoot("mail-390", 390, 844, false, true)
	b.shoot("mail-390-dark", 390, 844, true, true)
	b.shoot("mail-1280", 1280, 900, false, true)
	b.shoot("mail-1280-dark", 1280, 900, true, true)
	b.print("mail")
}

// TestReportWithoutScript verifies that nothing is missing from a page whose script does not
// run.
func TestReportWithoutScript(t *testing.T) {
	name := writeReport(t, "--site", "../../testdata/mail.site.yaml", "../../testdata/mail.pcapng")
	b := newBrowser(t)
	b.run(emulation.SetScriptExecutionDisabled(true), chromedp.EmulateViewport(1280, 900), chromedp.Navigate("file://"+name), chromedp.WaitReady("body"))
	var text string
	b.run(chromedp.Text("body", &text))
	for _, want := range []string{"Passwords in the clear", "To do", "Who talks to whom", "Data paths", "What this capture could not show", "Show "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the text", want)
		}
	}
	b.run(chromedp.Click("#connections summary", chromedp.ByQuery))
	var shown string
	b.run(chromedp.Text("#connections-t", &shown))
	if !strings.Contains(shown, "IMAP4") {
		t.Errorf("connections do not open: %q", shown)
	}
	b.clean()
}

// TestReportAsksForNothing serves the report, so that a request of any kind would reach the
// server.
func TestReportAsksForNothing(t *testing.T) {
	name := writeReport(t, "--site", "../../testdata/mail.site.yaml", "../../testdata/mail.pcapng")
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		if r.URL.Path == "/report.html" {
			http.ServeFile(w, r, name)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	b := newBrowser(t)
	b.run(chromedp.Navigate(server.URL+"/report.html"), chromedp.WaitReady("body"), chromedp.Sleep(300*time.Millisecond))
	mu.Lock()
	defer mu.Unlock()
	for _, path := range asked {
		// Browsers ask for the icon of a site by themselves.
		if path != "/report.html" && path != "/favicon.ico" {
			t.Errorf("the page asked for %s", path)
		}
	}
}

// writeLarge writes the report on 100,000 flows of 5,000 clients and 40 servers, and returns
// its name.
func writeLarge(t *testing.T) string {
	t.Helper()
	packs, err := rules.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "large.html")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := report.New(f, report.Options{Packs: packs, Format: report.HTML, Title: "large.pcapng", Assumed: "2010", Diagram: drawDiagram(nil)})
	if err := s.Close(large(t, packs, 100_000, s)); err != nil {
		t.Fatal(err)
	}
	return name
}

// large gives a sink the records of n flows of 5,000 clients and 40 servers, and returns
// their summary.
func large(t *testing.T, packs *rules.Packs, n int, s record.Sink) *record.Summary {
	t.Helper()
	roles := []string{"cas", "hub", "mailbox", "edge", "um"}
	var paths []*rules.DataPath
	for _, p := range packs.Paths("2010") {
		if !p.NotUsed && !p.Local {
			paths = append(paths, p)
		}
	}
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	sum := &record.Summary{First: start, Last: start.Add(time.Duration(n) * 100 * time.Millisecond), Packets: 1_000_000, IPBytes: 150_000_000}
	server := func(i int) record.Host {
		return record.Host{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Port: 443, Name: fmt.Sprintf("%s%d.corp.example", roles[i%5], i), Roles: []string{roles[i%5]}}
	}
	for i := range 40 {
		h := server(i)
		sum.Hosts = append(sum.Hosts, record.HostSummary{Addr: h.Addr, Name: h.Name, Version: "2010", Roles: []record.RoleProof{{Role: roles[i%5], Evidence: "site file"}}})
	}
	for i := range n {
		p := paths[i%len(paths)]
		client := record.Host{Addr: netip.AddrFrom4([4]byte{10, 9, byte(i % 5000 >> 8), byte(i)}), Port: uint16(1024 + i%60000), Roles: []string{"client"}}
		if i%3 == 0 {
			client = server(i / 3 % 40)
		}
		r := &record.Record{State: "ended", Proto: 6, Outcome: record.Answered, Client: client, Server: server(i % 40), Packets: record.Count{6, 4}, Bytes: record.Count{1000, 500},
			First: start.Add(time.Duration(i) * 100 * time.Millisecond), Verdict: record.Verdict{Status: record.Expected, Path: p, Group: p.Group, Version: "2010", Confidence: record.Learned}}
		r.Last = r.First.Add(time.Minute)
		if len(p.Legs) > 0 && p.Legs[0].Port.From != 0 {
			r.Server.Port = p.Legs[0].Port.From
		}
		switch i % 20 {
		case 3:
			r.Verdict.Status, r.Verdict.Findings = record.Deviating, []record.Finding{{ID: record.FindingCleartext, Level: record.Violation, Detail: "encryption none"}}
		case 7:
			r.Verdict = record.Verdict{Status: record.Unexpected, Reason: record.NoPath, Why: "no data path of Exchange 2010 has this port"}
			r.Server.Port = uint16(i)
		case 11:
			r.Outcome = record.Refused
		}
		if err := s.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	return sum
}

// TestLargeReportInBrowser verifies that a page of 100,000 flows is small and opens fast.
func TestLargeReportInBrowser(t *testing.T) {
	name := writeLarge(t)
	info, err := os.Stat(name)
	if err != nil || info.Size() > 10_000_000 {
		t.Errorf("%v bytes, %v", info.Size(), err)
	}
	b := newBrowser(t)
	b.run(chromedp.EmulateViewport(1280, 900))
	fastest := 1e9
	for range 3 {
		b.run(chromedp.Navigate("file://"+name), chromedp.WaitReady("body"))
		var ms float64
		b.run(chromedp.Evaluate(`performance.getEntriesByType("navigation")[0].loadEventEnd`, &ms))
		fastest = min(fastest, ms)
	}
	t.Logf("%d bytes, loaded in %.0f ms", info.Size(), fastest)
	if fastest > 2000 {
		t.Errorf("loaded in %.0f ms", fastest)
	}
	b.run(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	if got := b.eval(`document.documentElement.scrollWidth <= 390`); got != "true" {
		t.Errorf("on a phone the page is %s px wide", b.eval(`document.documentElement.scrollWidth`))
	}
	b.clean()
	b.shoot("large-390", 390, 844, true, false)
	b.shoot("large-1280", 1280, 900, false, true)
	b.print("large")
}

const (
	evil        = `<img src=x onerror=alert(1)><script>alert(1)</script>`
	hostileSite = "exchange: \"2010\"\nservers:\n  - {name: '" + evil + "', addresses: [10.0.0.5], roles: [cas, hub, um]}\n"
)

// hostilePackets returns packets with markup in host names, banners, server names, user
// agents and SIP headers.
func hostilePackets() string {
	return fmt.Sprintf(`start 2010-03-04T09:14:00Z
handshake 10.9.0.9:1050 > 10.0.0.5:25
tcp 10.0.0.5:25 > 10.9.0.9:1050 %[1]q
tcp 10.9.0.9:1050 > 10.0.0.5:25 %[2]q
tcp 10.0.0.5:25 > 10.9.0.9:1050 "250-%[3]s\r\n250 AUTH LOGIN\r\n"
handshake 10.9.0.9:1051 > 10.0.0.5:443
tcp 10.9.0.9:1051 > 10.0.0.5:443 tls-client-hello(<script>open=1</script>)
tcp 10.0.0.5:443 > 10.9.0.9:1051 tls-server-hello()
handshake 10.9.0.9:1052 > 10.0.0.5:80
tcp 10.9.0.9:1052 > 10.0.0.5:80 %[4]q
tcp 10.0.0.5:80 > 10.9.0.9:1052 %[5]q
udp 10.9.0.7:5060 > 10.0.0.5:5060 %[6]q
udp 10.0.0.5:5060 > 10.9.0.7:5060 %[7]q
handshake 10.9.0.9:1053 > 10.0.0.5:4444
tcp 10.9.0.9:1053 > 10.0.0.5:4444 %[2]q
`, "220 "+evil+" Microsoft ESMTP MAIL Service ready\r\n", "EHLO "+evil+"\r\n", evil,
		"GET /owa/"+evil+" HTTP/1.1\r\nHost: "+evil+"\r\nUser-Agent: "+evil+"\r\n\r\n",
		"HTTP/1.1 401 "+evil+"\r\nServer: "+evil+"\r\nX-FEServer: "+evil+"\r\nWWW-Authenticate: Basic realm=\""+evil+"\"\r\nContent-Length: 0\r\n\r\n",
		"INVITE sip:"+evil+"@10.0.0.5 SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.0.7:5060;branch=z9hG4bK1\r\nFrom: \""+evil+"\" <sip:"+evil+"@x>;tag=1\r\nTo: <sip:"+evil+"@y>\r\n"+
			"Call-ID: "+evil+"\r\nUser-Agent: "+evil+"\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
		"SIP/2.0 486 "+evil+"\r\nVia: SIP/2.0/UDP 10.9.0.7:5060;branch=z9hG4bK1\r\nFrom: \""+evil+"\" <sip:"+evil+"@x>;tag=1\r\nTo: <sip:"+evil+"@y>;tag=2\r\n"+
			"Call-ID: "+evil+"\r\nServer: "+evil+"\r\nms-diagnostics: 15000;reason=\""+evil+"\"\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n")
}

// TestHostileReportInBrowser opens the report on hostile packets. What is in them must stay
// text.
func TestHostileReportInBrowser(t *testing.T) {
	data, err := capturetest.Compile("hostile", []byte(hostilePackets()))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pcap, site := filepath.Join(dir, "<script>alert(1)<script>.pcap"), filepath.Join(dir, "site.yaml")
	for name, content := range map[string]string{pcap: string(data),
		site: hostileSite} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := writeReport(t, "--include-identities", "--site", site, pcap)
	b := newBrowser(t)
	b.run(chromedp.Navigate("file://"+name), chromedp.WaitReady("body"), chromedp.Sleep(200*time.Millisecond))
	if got := b.eval(`document.querySelectorAll("img, script").length`); got != "1" {
		t.Errorf("%s scripts and images, want the one script of the page", got)
	}
	if got := b.eval(`document.body.textContent.split("<script>alert(1)</script>").length > 5`); got != "true" {
		t.Error("the names are not there as text")
	}
	b.clean()
}
