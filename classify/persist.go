package classify

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
	Proofs  []savedProof `json:"proofs,omitempty"`
}

type savedProof struct {
	Roles    []rules.Role `json:"roles"`
	Evidence string       `json:"evidence"`
	Weak     bool         `json:"weak,omitempty"`
}

// Save writes what was learned: endpoints that hold now, proven roles and
// names of hosts. Entries that belong to a dialog are left out: the dialog does
// not outlive the sensor's view of it. It may be called by any goroutine.
func (e *Engine) Save(w io.Writer) error {
	return json.NewEncoder(w).Encode(e.saved())
}

func (e *Engine) saved() *savedState {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &savedState{Version: stateVersion, Clock: e.clock}
	for _, en := range e.endpoints.all {
		if en.overAt(s.Clock) || en.scope != "" || en.source == observe.FromSite {
			continue
		}
		s.Endpoints = append(s.Endpoints, savedEndpoint{
			Server: en.key.server.AddrPort(), Proto: en.key.proto, Service: en.service, Annotation: en.annotation, Source: en.source,
			From: en.from, Announced: en.announced, Weak: en.weak, Datagram: en.datagram, Learned: en.learned, Used: en.used, Idle: en.idle,
		})
	}
	for _, h := range e.hosts.byAddr {
		if h.site != nil {
			continue
		}
		saved := savedHost{Addr: h.addr, Name: h.name, Version: h.version}
		for _, p := range h.proofs {
			saved.Proofs = append(saved.Proofs, savedProof{p.roles, p.evidence, p.weak})
		}
		s.Hosts = append(s.Hosts, saved)
	}
	slices.SortFunc(s.Hosts, func(a, b savedHost) int { return a.Addr.Compare(b.Addr) })
	return s
}

// Restore takes in what Save wrote, before the first batch. Nothing is taken
// in when there is an error.
func (e *Engine) Restore(r io.Reader) error {
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
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range s.Endpoints {
		ep := observe.Endpoint{Server: s.Server, UDP: s.Proto == capture.UDP, Annotation: s.Annotation, Source: s.Source,
			From: s.From, Announced: s.Announced, Weak: s.Weak, Idle: s.Idle}
		if en, isNew := e.endpoints.learn(&ep, s.Service, s.Datagram, s.Learned); isNew {
			en.used = s.Used
		}
	}
	for _, h := range s.Hosts {
		a := capture.AddrFrom(h.Addr)
		if h.Name != "" {
			e.hosts.name(h.Addr, h.Name)
		}
		for _, p := range h.Proofs {
			e.hosts.prove(a, p.Roles, p.Weak, h.Version, p.Evidence)
		}
	}
	return nil
}

// Reload swaps the rules and the site file without losing a flow: what was
// learned stays, and open flows are judged by the new rules. The error is New's,
// and nothing has changed then.
func (e *Engine) Reload(packs *rules.Packs, site *rules.Site) error {
	cfg := e.cfg
	cfg.Packs, cfg.Site = packs, site
	fresh, err := New(cfg, e.sink)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for a, h := range e.hosts.byAddr {
		if h.site != nil {
			continue
		}
		if h.name != "" {
			fresh.hosts.name(h.addr, h.name)
		}
		for _, p := range h.proofs {
			fresh.hosts.prove(a, p.roles, p.weak, h.version, p.evidence)
		}
	}
	now := e.clock
	for _, en := range e.endpoints.all {
		if en.source == observe.FromSite && en.ended == 0 {
			en.ended = now
		}
	}
	e.cfg, e.site = cfg, site
	e.rulesets, e.evidence, e.hosts = fresh.rulesets, fresh.evidence, fresh.hosts
	e.recall = &recall{}
	e.learnSite()
	e.ledger.addLabels(packs)
	return nil
}
