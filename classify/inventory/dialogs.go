package inventory

import (
	"slices"

	"github.com/exspan/exspan/capture"
)

// Limits of the dialogs of one scope.
const (
	maxDialogs     = 4 // that hosts without anything in common began under one name
	maxDialogHosts = 8 // that take part in one
)

// dialog is a call by the name that its hosts gave it, which others can learn
// and use. So it is theirs alone: who is no part of it begins another one.
type dialog struct {
	scope   string
	hosts   []capture.Addr // that take part: who began it, and whom they told of it
	entries []*Endpoint
}

// has reports whether a host takes part in a dialog.
func (d *dialog) has(a capture.Addr) bool { return slices.Contains(d.hosts, a) }

// dialogFor returns the dialog in which a host says something to another one, nil
// for a new one, and whether there is room for that.
func (t *endpoints) dialogFor(scope string, from, to capture.Addr) (*dialog, bool) {
	list := t.dialogs[scope]
	for _, d := range list {
		if d.has(from) {
			if !d.has(to) && len(d.hosts) < maxDialogHosts {
				d.hosts = append(d.hosts, to) // a proxy passes the call on
			}
			return d, true
		}
	}
	return nil, len(list) < maxDialogs
}

// enter adds a new entry to its dialog, which it begins if there is none.
func (t *endpoints) enter(en *Endpoint, scope string, h *hearing) {
	if en.dialog == nil {
		en.dialog = &dialog{scope: scope, hosts: []capture.Addr{h.by, h.to}}
		t.dialogs[scope] = append(t.dialogs[scope], en.dialog)
	}
	en.dialog.entries = append(en.dialog.entries, en)
}

// endDialog ends the entries of the dialogs of a scope in which both ends of a
// flow take part, and returns those that it ended.
func (t *endpoints) endDialog(scope string, a, b capture.Addr, now int64) []*Endpoint {
	t.ended = t.ended[:0]
	list := t.dialogs[scope]
	if len(list) == 0 {
		return nil
	}
	rest := slices.DeleteFunc(list, func(d *dialog) bool {
		if !d.has(a) || !d.has(b) {
			return false
		}
		for _, en := range d.entries {
			t.end(en, now)
		}
		d.entries = nil
		return true
	})
	t.keepDialogs(scope, rest)
	if len(t.ended) == 0 {
		t.limits.ends++
	}
	return t.ended
}

// leave takes an entry out of its dialog, which ends with its last one.
func (t *endpoints) leave(en *Endpoint) {
	d := en.dialog
	if d == nil || len(d.entries) == 0 {
		return
	}
	d.entries = slices.DeleteFunc(d.entries, func(x *Endpoint) bool { return x == en })
	if len(d.entries) == 0 {
		t.keepDialogs(d.scope, slices.DeleteFunc(t.dialogs[d.scope], func(x *dialog) bool { return x == d }))
	}
}

func (t *endpoints) keepDialogs(scope string, list []*dialog) {
	if len(list) == 0 {
		delete(t.dialogs, scope)
	} else {
		t.dialogs[scope] = list
	}
}
