package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/knowledge"
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
	Strange    bool           `json:"strange,omitempty"`
	Datagram   bool           `json:"datagram,omitempty"`
	Confirmed  bool           `json:"confirmed,omitempty"`
	By         netip.Addr     `json:"by,omitzero"`
	Codecs     string         `json:"codecs,omitempty"`
	Dispute    string         `json:"dispute,omitempty"`
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
		if en.gone || en.overAt(now) || en.dialog != nil || en.tunnel != 0 || en.source == observe.FromSite || en.told != nil {
			continue
		}
		s.Endpoints = append(s.Endpoints, savedEndpoint{
			Server: en.key.server.AddrPort(), Proto: en.key.proto, Service: en.service, Annotation: en.annotation, Source: en.source,
			From: en.from, Announced: en.announced, Weak: en.weak, Strange: en.strange, Datagram: en.datagram,
			Confirmed: en.confirmed, By: en.by.Netip(), Codecs: en.codecs, Dispute: en.dispute, Learned: en.learned, Used: en.used, Idle: en.idle,
		})
	}
	for _, h := range v.hosts.byAddr {
		if h.site != nil {
			continue
		}
		saved := savedHost{Addr: h.addr}
		if h.nameTold == "" {
			saved.Name = h.name
		}
		if h.versionTold == "" {
			saved.Version, saved.Build = h.version, h.build
		}
		for _, p := range h.proofs {
			if p.sensor != "" {
				continue // its sensor tells it again
			}
			saved.Proofs = append(saved.Proofs, savedProof{p.roles, p.evidence, p.weak})
		}
		if saved.Name != "" || saved.Version != "" || len(saved.Proofs) > 0 {
			s.Hosts = append(s.Hosts, saved)
		}
	}
	slices.SortFunc(s.Hosts, func(a, b savedHost) int { return a.Addr.Compare(b.Addr) })
	return json.NewEncoder(w).Encode(s)
}

// Limits of a state file, beside those of what is restored from it.
const (
	maxState      = 256 << 20 // bytes
	maxSavedRoles = 64        // proofs of one host, and roles of one proof
	dayAfter      = int64(24 * time.Hour)
)

// restore takes in one saved endpoint, as well known as it was.
func (v *Inventory) restore(s *savedEndpoint) {
	ep := observe.Endpoint{Server: s.Server, UDP: s.Proto == capture.UDP, Annotation: s.Annotation, Source: s.Source,
		From: s.From, Announced: s.Announced, Weak: s.Weak, Idle: s.Idle, Codecs: s.Codecs}
	h := hearing{service: s.Service, strange: s.Strange, datagram: s.Datagram, time: s.Learned}
	if s.By.IsValid() {
		h.by = capture.AddrFrom(s.By)
	}
	if en, isNew := v.endpoints.learn(&ep, h); isNew {
		en.used, en.confirmed, en.dispute = s.Used, s.Confirmed, s.Dispute
	}
}

// check reports what keeps a saved state from being believed.
func (s *savedState) check() error {
	switch {
	case s.Version != stateVersion:
		return fmt.Errorf("version %d, want %d", s.Version, stateVersion)
	case len(s.Endpoints) > MaxEndpoints:
		return fmt.Errorf("%d endpoints, at most %d can be", len(s.Endpoints), MaxEndpoints)
	case len(s.Hosts) > 2*MaxHosts:
		return fmt.Errorf("%d hosts, at most %d can be", len(s.Hosts), 2*MaxHosts)
	}
	for i := range s.Endpoints {
		if err := s.Endpoints[i].check(s.Clock); err != nil {
			return fmt.Errorf("endpoint %d: %w", i+1, err)
		}
	}
	for i := range s.Hosts {
		if err := s.Hosts[i].check(); err != nil {
			return fmt.Errorf("host %d: %w", i+1, err)
		}
	}
	return nil
}

// savedSources are the sources that a state file can name.
var savedSources = []observe.Source{observe.FromMap, observe.FromLookup, observe.FromBind, observe.FromSDP, observe.FromRedirect, observe.FromPush}

func (s *savedEndpoint) check(clock int64) error {
	switch {
	case !s.Server.IsValid() || s.Server.Port() == 0:
		return errors.New("no address and port")
	case s.Proto != capture.TCP && s.Proto != capture.UDP:
		return fmt.Errorf("protocol number %d", s.Proto)
	case !slices.Contains(savedSources, s.Source):
		return fmt.Errorf("unknown source %q", s.Source)
	case s.Service == "":
		return errors.New("no service")
	case s.Idle <= 0 || s.Idle > endpointIdle:
		return fmt.Errorf("idle time %v", time.Duration(s.Idle))
	case s.Learned > s.Used || s.Used > clock+dayAfter:
		return errors.New("times that cannot be")
	}
	return knowledge.CheckTexts(s.Service, s.Annotation, s.Codecs, s.Dispute)
}

func (h *savedHost) check() error {
	if !h.Addr.IsValid() {
		return errors.New("no address")
	}
	if len(h.Proofs) > maxSavedRoles {
		return fmt.Errorf("%s: %d proofs, at most %d can be", h.Addr, len(h.Proofs), maxSavedRoles)
	}
	for _, p := range h.Proofs {
		if len(p.Roles) > maxSavedRoles {
			return fmt.Errorf("%s: a proof with %d roles", h.Addr, len(p.Roles))
		}
		for _, role := range p.Roles {
			if !slices.Contains(rules.Roles(), role) {
				return fmt.Errorf("%s has the unknown role %q", h.Addr, role)
			}
		}
		if err := knowledge.CheckTexts(p.Evidence); err != nil {
			return fmt.Errorf("%s: %w", h.Addr, err)
		}
	}
	return knowledge.CheckTexts(h.Name, h.Version, h.Build)
}

// Restore takes in what Save wrote. It takes in nothing if there is an error.
func (v *Inventory) Restore(r io.Reader) error {
	var s savedState
	limited := &io.LimitedReader{R: r, N: maxState}
	if err := json.NewDecoder(limited).Decode(&s); err != nil {
		if limited.N <= 0 {
			return fmt.Errorf("state file: more than %d MiB", maxState>>20)
		}
		return fmt.Errorf("state file: %w", err)
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	for i := range s.Endpoints {
		v.restore(&s.Endpoints[i])
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
