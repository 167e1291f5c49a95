package inventory

import (
	"encoding/binary"

	"github.com/exspan/exspan/classify/match"
	"github.com/exspan/exspan/rules"
)

// lists holds the lists of services that flows are judged by, by one service and
// by the ids of several lists of one.
type lists struct {
	alone    map[match.Service]*match.Announced
	together map[string]*match.Announced
	ids      []byte // a key of together
	lastID   uint64
}

func newLists() lists {
	return lists{alone: map[match.Service]*match.Announced{}, together: map[string]*match.Announced{}}
}

// maxLists bounds the lists that are shared.
const maxLists = 4096

// listOf returns the services of entries, of which there is at least one, as flows
// are judged by them.
func (t *endpoints) listOf(entries []*Endpoint) *match.Announced {
	if len(entries) == 1 {
		return t.listOfOne(entries[0])
	}
	t.lists.ids = t.lists.ids[:0]
	for _, en := range entries {
		t.lists.ids = binary.BigEndian.AppendUint64(t.lists.ids, t.listOfOne(en).ID)
	}
	if known := t.lists.together[string(t.lists.ids)]; known != nil {
		return known
	}
	a := &match.Announced{ID: t.nextID()}
	for _, en := range entries {
		a.Services = append(a.Services, t.listOfOne(en).Services...)
	}
	if len(t.lists.together) >= maxLists {
		clear(t.lists.together)
	}
	t.lists.together[string(t.lists.ids)] = a
	return a
}

func (t *endpoints) listOfOne(en *Endpoint) *match.Announced {
	if en.list != nil {
		return en.list
	}
	service := match.Service{Name: en.service, Annotation: en.annotation, Source: en.source, Protocol: t.protocolOf(en),
		Weak: en.weak || en.strange, Dispute: en.dispute}
	if en.list = t.lists.alone[service]; en.list != nil {
		return en.list
	}
	en.list = &match.Announced{Services: []match.Service{service}, ID: t.nextID()}
	if len(t.lists.alone) >= maxLists {
		clear(t.lists.alone) // entries keep those that they have
	}
	t.lists.alone[service] = en.list
	return en.list
}

func (t *endpoints) nextID() uint64 {
	t.lists.lastID++
	return t.lists.lastID
}

// setPolicy replaces the policy.
func (t *endpoints) setPolicy(policy *rules.Policy) {
	t.policy = policy
	clear(t.lists.alone)
	clear(t.lists.together)
	for _, en := range t.all {
		en.list = nil
	}
}

// Services returns the services of entries as flows are judged by them, nil for
// no entries.
func (v *Inventory) Services(entries []*Endpoint) *match.Announced {
	if len(entries) == 0 {
		return nil
	}
	return v.endpoints.listOf(entries)
}
