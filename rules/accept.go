package rules

import (
	"net/netip"
	"strings"
	"time"
)

// Host is the host that an End is compared with: its address, its name or "", and a
// function that reports whether it has a role.
type Host struct {
	Addr netip.Addr
	Name string
	Has  func(Role) bool
}

// Fits reports whether h is the end that the site file names.
func (e *End) Fits(h *Host) bool {
	switch {
	case e.Role != "":
		return e.Role == Any || h.Has != nil && h.Has(e.Role)
	case e.Server != "":
		return strings.EqualFold(e.Server, h.Name)
	case e.Prefix.IsValid():
		return e.Prefix.Contains(h.Addr.Unmap())
	}
	return true
}

// Expired reports whether the last day of the acceptance lies before at.
func (a *Accept) Expired(at time.Time) bool {
	return !a.Until.IsZero() && !at.Before(a.Until.AddDate(0, 0, 1))
}

// Fits reports whether the operator accepts a finding on a data path between two hosts.
// path is the id of the data path, or of a path that ties with it. Fits does not check
// whether the acceptance has expired; see Expired.
func (a *Accept) Fits(finding, path string, client, server *Host) bool {
	head, open := strings.CutSuffix(a.Path, "*")
	return a.Finding == finding && (a.Path == "" || path == a.Path || open && strings.HasPrefix(path, head)) &&
		a.From.Fits(client) && a.To.Fits(server)
}
