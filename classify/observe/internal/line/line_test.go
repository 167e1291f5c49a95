package line

import (
	"slices"
	"strings"
	"testing"
)

// split passes text to a Splitter as an observer does, with at most size new bytes at a
// time.
func split(text string, size int) []string {
	var s Splitter
	var held []byte
	var out []string
	for len(text) > 0 {
		k := min(size, len(text))
		held = append(held, text[:k]...)
		text = text[k:]
		for {
			l, n, ok := s.Next(held)
			held = held[n:]
			if ok {
				out = append(out, string(l))
			} else if n == 0 {
				break
			}
		}
	}
	return out
}

func TestSplitter(t *testing.T) {
	long := strings.Repeat("x", Max)
	text := "one\r\ntwo\n\r\n" + long + "\n" + long + "\r\n" + long + long + long + "y\r\nthree\r\nrest"
	want := []string{"one", "two", "", long, long, long, "three"}
	for _, size := range []int{1, 7, 1000, len(text)} {
		if got := split(text, size); !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %d lines, want %d", size, len(got), len(want))
		}
	}
}

func TestText(t *testing.T) {
	tests := []struct {
		text, rest string
		done       bool
	}{
		{".\r\nQUIT", "QUIT", true},
		{"a\r\n.\r\nQUIT", "QUIT", true},
		{"a\r\n..\r\n.b\r\n.\r\nQUIT", "QUIT", true},
		{"a\r\n.\r\r\n.\r\nQUIT", "QUIT", true},
		{"\r\n.\r\n\r\n", "\r\n", true},
		{"a\r\n.\rb", "", false},
		{"a\n.\nb", "", false},
		{"\r\r\n\r\n.\r\nQ", "Q", true},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.text); size++ {
			var x Text
			x.Start()
			rest, done := tt.text, false
			for len(rest) > 0 && !done {
				b := rest[:min(size, len(rest))]
				var n int
				n, done = x.Skip([]byte(b))
				rest = rest[n:]
			}
			if done != tt.done || done && rest != tt.rest {
				t.Errorf("%q in pieces of %d: rest %q, done %v", tt.text, size, rest, done)
			}
		}
	}
}

// TestBanner covers the greetings in the reference of Exchange banners, and some of other
// servers.
func TestBanner(t *testing.T) {
	tests := [][2]string{
		{"ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready",
			"ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2653.13) ready"},
		{"Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready at Fri Jul 17 03:15:59 2020",
			"Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready"},
		{"Microsoft ESMTP MAIL Service, Version: 5.0.2195.6713 ready at  Fri, 17 Jul 2020 03:15:59 +0200",
			"Microsoft ESMTP MAIL Service, Version: 5.0.2195.6713 ready"},
		{"Microsoft ESMTP MAIL Service ready at Tue, 8 Dec 2015 22:31:02 +0100", "Microsoft ESMTP MAIL Service ready"},
		{"MICROSOFT ESMTP MAIL SERVICE READY AT Tue, 8 Dec 2015 22:31:02 +0100", "MICROSOFT ESMTP MAIL SERVICE READY"},
		{"Microsoft Exchange IMAP4rev1 server version 5.5.2653.23 (mb1.example.com) ready",
			"Microsoft Exchange IMAP4rev1 server version 5.5.2653.23 ready"},
		{"Microsoft Exchange Server 2003 IMAP4rev1 server version 6.5.7638.1 (MB1) ready.",
			"Microsoft Exchange Server 2003 IMAP4rev1 server version 6.5.7638.1 ready."},
		{"The Microsoft Exchange IMAP4 service is ready.", "The Microsoft Exchange IMAP4 service is ready."},
		{"The Microsoft Exchange IMAP4 service is ready. [TQBCADEALgBlAHgA]", "The Microsoft Exchange IMAP4 service is ready. [...]"},
		{"ready [session 5 of mail.example.com]", "ready"},
		{"Microsoft Exchange Server 2007 POP3 service ready", "Microsoft Exchange Server 2007 POP3 service ready"},
		{"NNTP Service 6.0.3790.3959 Version: 6.0.3790.3959 Posting Allowed",
			"NNTP Service 6.0.3790.3959 Version: 6.0.3790.3959 Posting Allowed"},
		{"ESMTP Postfix (Ubuntu)", "ESMTP Postfix (Ubuntu)"},
		{"ESMTP s4si9696358qcc.63 - gsmtp", "ESMTP - gsmtp"},
		{"ESMTP Sendmail 8.14.4/8.14.4; Tue, 8 Dec 2015 22:31:02 +0100", "ESMTP Sendmail 8.14.4/8.14.4"},
		{"ESMTP Exim 4.94.2 Sat, 21 Nov 2026 20:31:04 +0000", "ESMTP Exim 4.94.2"},
		{"POP3 server ready <1896.697170952@dbc.mtview.ca.us>", "POP3 server ready"},
		{"[CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS] Dovecot (Ubuntu) ready.", "Dovecot (Ubuntu) ready."},
		{"write to someone@example.com at mail.example.com", "write to"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := Banner([]byte(tt[0])); got != tt[1] {
			t.Errorf("%q gives %q, want %q", tt[0], got, tt[1])
		}
	}
}

func TestAllocs(t *testing.T) {
	text := []byte(strings.Repeat("a line of a message body\r\n", 50))
	var x Text
	x.Start()
	if n := testing.AllocsPerRun(100, func() { x.Skip(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestBanners compares cached with computed results.
func TestBanners(t *testing.T) {
	var m Banners
	heads := []string{"", "Microsoft ESMTP MAIL Service ready at ", "Microsoft ESMTP MAIL Service, Version: 6.0.3790.1830 ready at  ",
		"ESMTP Exchange (EX1) <x@y> ", "ESMTP \u00a0 "}
	days := []string{"Mon", "Monday", "Mon,", "Mond", "Mon\t", "Mon\u00a0x", "Mon\xff", "2026-11-21", "at", "Tue;", ""}
	tails := []string{"", " ", " 2 Jan 2023", ", 3 Jan", "x ready", " at"}
	for range 2 {
		for _, head := range heads {
			for _, day := range days {
				for _, tail := range tails {
					s := head + day + tail
					if got, want := m.Banner([]byte(s)), Banner([]byte(s)); got != want {
						t.Errorf("%q: %q, want %q", s, got, want)
					}
				}
			}
		}
	}
}
