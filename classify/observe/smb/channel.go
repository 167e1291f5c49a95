package smb

import (
	"net/netip"
	"slices"

	"github.com/exspan/exspan/classify/observe"
)

// sessionBinding is the flag of a session set-up request that adds its connection to a
// session as a further channel ([MS-SMB2] section 2.2.5).
const sessionBinding = 0x1

// Limits of what observers share.
const (
	maxShared      = 4096 // pipes
	maxSharedUUIDs = 4    // interfaces of one pipe
)

// channels holds the pipes that sessions of SMB 3 opened. A client can use a pipe on every
// channel of its session, so the observers of all flows share them. For one pipe more, the
// one that was opened first is forgotten. The zero value is ready for use.
type channels struct {
	pipes map[channelPipe]*sharedPipe
	order []channelPipe // a ring, once it has maxShared elements
	next  int           // the oldest of a full ring
}

// channelPipe identifies a pipe by its session, whose id is unique on its server, and by
// its file id, which is unique in the session.
type channelPipe struct {
	session uint64
	file    fileID
}

// sharedPipe is what is known of a pipe.
type sharedPipe struct {
	client netip.AddrPort // of the connection that opened it
	name   string
	uuids  []string // facts observe.RPCUUID
}

// opened records the opening of a pipe. If the same was recorded before, the first name
// stays: a server does not use an id again while the session lasts.
func (c *channels) opened(key channelPipe, client netip.AddrPort, name string) {
	if c.pipes[key] != nil {
		return
	}
	if c.pipes == nil {
		c.pipes = map[channelPipe]*sharedPipe{}
	}
	if len(c.order) < maxShared {
		c.order = append(c.order, key)
	} else {
		delete(c.pipes, c.order[c.next])
		c.order[c.next] = key
		c.next = (c.next + 1) % maxShared
	}
	c.pipes[key] = &sharedPipe{client: client, name: name}
}

// bound records the interfaces of a pipe.
func (c *channels) bound(key channelPipe, facts []observe.Fact) {
	s := c.pipes[key]
	if s == nil {
		return
	}
	for _, f := range facts {
		if f.Name == observe.RPCUUID && len(s.uuids) < maxSharedUUIDs && !slices.Contains(s.uuids, f.Value) {
			s.uuids = append(s.uuids, f.Value)
		}
	}
}

// bind records that the flow became a channel of a session.
func (o *observer) bind(session uint64) {
	if len(o.channelOf) < maxSetups && !slices.Contains(o.channelOf, session) {
		o.channelOf = append(o.channelOf, session)
	}
}

// adopt starts the reading of a pipe that another channel of the session opened.
func (o *observer) adopt(session uint64, id fileID, r *observe.Report) {
	if len(o.channelOf) == 0 || !slices.Contains(o.channelOf, session) || o.find(id) != nil {
		return
	}
	key := channelPipe{session, id}
	s := o.shared.pipes[key]
	if s == nil || s.client == o.client {
		return
	}
	p := o.open(id, s.name, false, r)
	p.session = session
	for _, uuid := range s.uuids {
		p.report.Add(observe.RPCUUID, uuid)
	}
	o.merge(p, r)
}
