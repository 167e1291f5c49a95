// Package irc recognises IRC (RFC 1459, RFC 2812) and its extension IRCX, the protocol of
// the chat service of Exchange 2000. It reads only the name of the server.
package irc

import (
	"bytes"
	"slices"

	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/observe/internal/line"
)

// Server is the name of the server in the prefix of its messages, if it has no domain.
// The chat service of Exchange 2000 uses "Default-Chat-Community".
const Server = "irc.server"

// maxLine is the maximum length of a message in bytes (RFC 2812 section 2.3).
const maxLine = 512

// Protocol returns the description of IRC.
func Protocol() observe.Protocol {
	return observe.Protocol{Name: "irc", TCP: []uint16{6667, 7000}, Stream: true, Detect: detect,
		New: func() observe.Observer { return observer{} }}
}

// The commands with which clients begin (RFC 2812 section 3.1). Other protocols also have
// USER and PASS.
var commands = [...]string{"NICK ", "CAP LS", "IRCX", "MODE ISIRCX", "USER ", "PASS "}

func detect(f *observe.First) observe.Match {
	b, client := f.ToServer, true
	if len(b) == 0 {
		b, client = f.ToClient, false
	}
	l, _, whole := bytes.Cut(b, []byte("\n"))
	l = bytes.TrimSuffix(l, []byte("\r"))
	var ok bool
	switch {
	case len(b) > maxLine && !whole:
	case !whole && client:
		ok = slices.ContainsFunc(commands[:], func(c string) bool { return line.CanBegin(l, c) })
	case !whole:
		ok = len(l) == 0 || l[0] == ':' || line.CanBegin(l, notice)
	case client:
		ok = fromClient(l, f.OnPort)
	default:
		ok = fromServer(l)
	}
	switch {
	case !ok:
		return observe.No
	case !whole:
		return observe.More
	}
	return observe.Yes
}

// fromClient reports whether l is a command with which clients begin.
func fromClient(l []byte, onPort bool) bool {
	for _, c := range commands {
		if !line.HasPrefix(l, c) {
			continue
		}
		switch c {
		case "PASS ":
			return onPort
		case "USER ":
			// Name, mode or host, server, and the real name after a colon.
			w := line.Words(l)
			for range 4 {
				w.Next()
			}
			return bytes.HasPrefix(w.Rest(), []byte(":"))
		}
		return true
	}
	return false
}

const notice = "NOTICE AUTH "

// fromServer reports whether l is a notice or a numeric reply from a server.
func fromServer(l []byte) bool {
	if line.HasPrefix(l, notice) {
		return true
	}
	if len(l) == 0 || l[0] != ':' {
		return false
	}
	w := line.Words(l[1:])
	w.Next()
	c := w.Next()
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	return line.Is(c, "NOTICE") || len(c) == 3 && digit(c[0]) && digit(c[1]) && digit(c[2])
}

type observer struct{}

// Observe reads the first line of the server.
func (observer) Observe(in *observe.Input, r *observe.Report) (int, error) {
	switch {
	case in.Gap > 0:
		return 0, observe.ErrDone
	case in.Dir == observe.ToServer:
		return len(in.Data), nil
	}
	l, _, whole := bytes.Cut(in.Data[:min(len(in.Data), maxLine)], []byte("\n"))
	if !whole && len(in.Data) < maxLine {
		return 0, nil
	}
	if name := line.First(l); len(name) > 1 && name[0] == ':' && len(name) <= 64 && !bytes.ContainsAny(name, ".!@") {
		r.AddBytes(Server, name[1:])
	}
	return 0, observe.ErrDone
}
