package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exspan/exspan/capture/capturetest"
)

// exchangeRoles lists the roles of Exchange servers.
var exchangeRoles = []string{"mailbox", "mailbox-legacy", "cas", "hub", "edge", "um"}

// TestNoFalseExchange reads captures without an Exchange server, and a scanner that looks
// for one. No host in them may be an Exchange server, and no flow may be judged as one of
// Exchange. The corpus' GROUND-TRUTH.md names its folders and files without Exchange
// servers. The readable part of a damaged file counts. Exceptions that do not hold yet
// are listed in disagree.txt.
func TestNoFalseExchange(t *testing.T) {
	texts, err := filepath.Glob(filepath.Join(testdataDir, "negatives", "*.txt"))
	if err != nil || len(texts) == 0 {
		t.Fatalf("no texts: %v", err)
	}
	texts = slices.DeleteFunc(texts, func(name string) bool { return filepath.Base(name) == "disagree.txt" })
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
	known, wrong := map[string]bool{}, map[string]string{}
	for _, file := range files {
		records, err := analyzed(file)
		if err != nil && !strings.HasPrefix(err.Error(), "exit code 1: ") {
			t.Fatal(err)
		}
		flows += len(records)
		name := strings.TrimSuffix(filepath.Base(file), ".pcap")
		known[name] = true
		for _, r := range records {
			if status := r.object("verdict").text("status"); status != "unrelated" && status != "undetermined" {
				wrong[name] = r.end("client") + " > " + r.end("server") + " is " + verdictOf(r)
			}
			for _, end := range []string{"client", "server"} {
				for _, role := range r.object(end).list("roles") {
					for _, one := range strings.Split(role, "|") {
						if slices.Contains(exchangeRoles, one) {
							wrong[name] = end + " of " + r.end("client") + " > " + r.end("server") + " is taken for " + role
						}
					}
				}
			}
		}
	}
	t.Logf("%d files, %d flows", len(files), flows)
	if flows < 120 {
		t.Errorf("%d flows", flows)
	}
	checkList(t, filepath.Join(testdataDir, "negatives", "disagree.txt"), known, wrong)
}
