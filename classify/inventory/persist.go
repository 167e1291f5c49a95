package inventory

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/rules"
)

// What a monitor keeps over a restart: learned endpoints, proven roles and
// names. Times are nanoseconds since the Unix epoch.

const stateVersion = 1

type savedState struct {
	Version   int             `json:"version"`
	Clock     int64           `json:"clock"`
	Endpoints []savedEndpoint `json:"endpoints"`
	Hosts     []savedHost     `json:"hosts"`
}

type savedEndpoint struct {
	Server     netip.AddrPort `json:"server"`
	Proto      uint8          `json:"proto"`
	Service    string         `json:"service"`
	Annotation string         `json:"annotation,omitempty"`
	Source     observe.Source `json:"source"`
	From       netip.AddrPort `json:"from"`
	Announced  netip.Addr     `json:"announced,omitzero"`
	Weak       bool           `json:"weak,omitempty"`
	Datagram   bool           `json:"datagram,omitempty"`
	Learned    int64          `json:"learned"`
	Used       int64          `json:"used"`
	Idle       int64          `json:"idle"`
}

type savedHost struct {
	Addr    netip.Addr   `json:"addr"`
	Name    string       `json:"name,omitempty"`
	Version string       `json:"exchange,omitempty"`
	Build   string       `json:"build,omitempty"`
	Proofs  []savedProof `json:"proofs,omitempty"`
}

type savedProof struct {
	Roles    []rules.Role `json:"roles"`
	Evidence string       `json:"evidence"`
	Weak     bool         `json:"weak,omitempty"`
}

// Save writes what holds at a packet time: endpoints, proven roles and names of
// hosts. Entries that belong to a dialog are left out, as a dialog does not
// outlive the sensor's view of it.
func (v *Inventory) Save(w io.Writer, now int64) error {
	s := &savedState{Version: stateVersion, Clock: now}
	for _, en := range v.endpoints.all {
		if en.overAt(now) || en.scope != "" || en.source == observe.FromSite {
			continue
		}
		s.Endpoints = append(s.Endpoints, savedEndpoint{
			Server: en.key.server.AddrPort(), Proto: en.key.proto, Service: en.service, Annotation: en.annotation, Source: en.source,
			From: en.from, Announced: en.announced, Weak: en.weak, Datagram: en.datagram, Learned: en.learned, Used: en.used, Idle: en.idle,
		})
	}
	for _, h := range v.hosts.byAddr {
		if h.site != nil {
			continue
		}
		saved := savedHost{Addr: h.addr, Name: h.name, Version: h.version, Build: h.build}
		for _, p := range h.proofs {
			saved.Proofs = append(saved.Proofs, savedProof{p.roles, p.evidence, p.weak})
		}
		s.Hosts = append(s.Hosts, saved)
	}
	slices.SortFunc(s.Hosts, func(a, b savedHost) int { return a.Addr.Compare(b.Addr) })
	return json.NewEncoder(w).Encode(s)
}

// Restore takes in what Save wrote. It takes in nothing if there is an error.
func (v *Inventory) Restore(r io.Reader) error {
	var s savedState
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if s.Version != stateVersion {
		return fmt.Errorf("state file: version %d, want %d", s.Version, stateVersion)
	}
	for _, h := range s.Hosts {
		for _, p := range h.Proofs {
			for _, role := range p.Roles {
				if !slices.Contains(rules.Roles(), role) {
					return fmt.Errorf("state file: host %s has the unknown role %q", h.Addr, role)
				}
			}
		}
	}
	for _, s := range s.Endpoints {
		ep := observe.Endpoint{Server: s.Server, UDP: s.Proto == capture.UDP, Annotation: s.Annotation, Source: s.Source,
			From: s.From, Announced: s.Announced, Weak: s.Weak, Idle: s.Idle}
		if en, isNew := v.endpoints.learn(&ep, s.Service, s.Datagram, s.Learned); isNew {
			en.used = s.Used
		}
	}
	for _, h := range s.Hosts {
		if h.Name != "" {
			v.hosts.name(h.Addr, h.Name)
		}
		for _, p := range h.Proofs {
			v.hosts.prove(capture.AddrFrom(h.Addr), roleProof{roles: p.Roles, evidence: p.Evidence, weak: p.Weak}, h.Version, h.Build)
		}
	}
	return nil
}
