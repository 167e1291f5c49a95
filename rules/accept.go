package rules

import (
	"net/netip"
	"strings"
	"time"
)

// Host is what an End is compared with: an address, the host's name or "", and
// whether it has a role.
type Host struct {
	Addr netip.Addr
	Name string
	Has  func(Role) bool
}

// Fits reports whether a host is the end that the site file names.
func (e *End) Fits(h *Host) bool {
	switch {
	case e.Role != "":
		return h.Has != nil && h.Has(e.Role)
	case e.Server != "":
		return strings.EqualFold(e.Server, h.Name)
	case e.Prefix.IsValid():
		return e.Prefix.Contains(h.Addr.Unmap())
	}
	return true
}

// Expired reports whether the last day of the acceptance is over at a time.
func (a *Accept) Expired(at time.Time) bool {
	return !a.Until.IsZero() && !at.Before(a.Until.AddDate(0, 0, 1))
}

// Fits reports whether the operator accepts a finding on a data path, between two
// hosts. Path is the id of the path, or of a path that ties with it. Whether the
// acceptance has expired is another question: see Expired.
func (a *Accept) Fits(finding, path string, client, server *Host) bool {
	head, open := strings.CutSuffix(a.Path, "*")
	return a.Finding == finding && (a.Path == "" || path == a.Path || open && strings.HasPrefix(path, head)) &&
		a.From.Fits(client) && a.To.Fits(server)
}
