package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// exchangeRoles are the roles of Exchange servers.
var exchangeRoles = []string{"mailbox", "mailbox-legacy", "cas", "hub", "edge", "um"}

// TestNoFalseExchange reads captures in which no Exchange server takes part,
// and a scanner that looks for one. Nothing in them is an Exchange server, and
// no flow is judged as one of Exchange. Of the corpus, its GROUND-TRUTH.md says
// which folders and files have none.
func TestNoFalseExchange(t *testing.T) {
	texts, err := filepath.Glob(filepath.Join(testdataDir, "negatives", "*.txt"))
	if err != nil || len(texts) == 0 {
		t.Fatalf("no texts: %v", err)
	}
	texts = append(texts, filepath.Join(testdataDir, "situations", "not-exchange.txt"), filepath.Join(testdataDir, "situations", "z-push.txt"),
		filepath.Join(testdataDir, "situations", "port-scan.txt"))
	dir := t.TempDir()
	var files []string
	for _, name := range texts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := capturetest.Compile(name, text)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, filepath.Base(name)+".pcap")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if corpus := os.Getenv("EXSPAN_CORPUS"); corpus != "" {
		for _, folder := range []string{"ad/*", "epm/*", "http/*", "negatives/*", "pop-imap/*", "sip-rtp/*", "smtp/smtp-starttls.pcap", "span/*"} {
			more, err := filepath.Glob(filepath.Join(corpus, folder))
			if err != nil || len(more) == 0 {
				t.Fatalf("nothing in %s: %v", folder, err)
			}
			files = append(files, more...)
		}
	}
	flows := 0
	for _, file := range files {
		records, err := analyzed(file)
		if err != nil {
			t.Fatal(err)
		}
		flows += len(records)
		for _, r := range records {
			if status := r.object("verdict").text("status"); status != "unrelated" && status != "undetermined" {
				t.Errorf("%s: %s > %s is %s", filepath.Base(file), r.end("client"), r.end("server"), verdictOf(r))
			}
			for _, end := range []string{"client", "server"} {
				for _, role := range r.object(end).list("roles") {
					for _, one := range strings.Split(role, "|") {
						if slices.Contains(exchangeRoles, one) {
							t.Errorf("%s: %s of %s > %s is taken for %s", filepath.Base(file), end, r.end("client"), r.end("server"), role)
						}
					}
				}
			}
		}
	}
	t.Logf("%d files, %d flows", len(files), flows)
	if flows < 150 {
		t.Errorf("%d flows", flows)
	}
}
