package pipeline

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/ndjson"
)

// fromRecord is the evidence of roles that flow records name.
const fromRecord = "flow record"

// isRecords reports whether data begins like flow records rather than like a
// capture.
func isRecords(data []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "{")
}

// Records reports whether the files are flow records. Captures and records
// together are an error.
func (o *Options) Records(s *Streams) (bool, error) {
	var records, captures string
	for _, name := range o.Files {
		is := false
		if name == "-" {
			b := bufio.NewReaderSize(s.Stdin, 1<<16)
			head, _ := b.Peek(1)
			is, s.Stdin = isRecords(head), b
		} else {
			is = HoldsRecords(name)
		}
		if is {
			records = name
		} else {
			captures = name
		}
	}
	if records != "" && captures != "" {
		return false, fmt.Errorf("%s holds flow records and %s is a capture; read one kind at a time", records, captures)
	}
	return records != "", nil
}

// HoldsRecords reports whether a regular file holds flow records.
func HoldsRecords(name string) bool {
	f, err := openRecords(name)
	if err != nil {
		return false
	}
	head := make([]byte, 16)
	n, _ := io.ReadFull(f, head)
	_ = f.Close()
	return isRecords(head[:n])
}

// openRecords opens a regular file, plain or compressed by gzip. Errors of
// reading show later.
func openRecords(name string) (io.ReadCloser, error) {
	if st, err := os.Stat(name); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(strings.ToLower(name), ".gz") {
		if z, err := gzip.NewReader(f); err == nil {
			return struct {
				io.Reader
				io.Closer
			}{z, f}, nil
		}
		_, _ = f.Seek(0, io.SeekStart)
	}
	return f, nil
}

// replay hands flow records that were written before to a view. Their verdicts
// stay as they are.
func (o *Options) replay(ctx context.Context, cfg classify.Config, s Streams, view record.Sink) (*Result, error) {
	r := &Result{Records: true}
	c := collector{sum: &record.Summary{}, hosts: map[netip.Addr]*record.HostSummary{}, endpoints: map[endpointKey]*record.EndpointSummary{}}
	if o.Filter != "" {
		return r, errors.New("a BPF expression chooses packets, and flow records have none; choose flows by --host and --port")
	}
	for _, name := range o.Files {
		in := io.NopCloser(s.Stdin)
		if name != "-" {
			var err error
			if in, err = openRecords(name); err != nil {
				r.Damage = append(r.Damage, err)
				continue
			}
		}
		reader := ndjson.NewReader(in, cfg.Packs)
		for ctx.Err() == nil {
			rec, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				r.Damage = append(r.Damage, fmt.Errorf("%s: %w", name, err))
				break
			}
			r.Last++
			c.add(rec)
			if err := view.Write(rec); err != nil {
				_ = in.Close()
				return r, Error{err}
			}
		}
		_ = in.Close()
	}
	if ctx.Err() != nil {
		r.Damage = append(r.Damage, errors.New("interrupted; what was read until then is reported"))
	}
	if err := view.Close(c.summary(r.Damage)); err != nil {
		return r, Error{err}
	}
	return r, nil
}

// collector makes the summary of flow records.
type collector struct {
	sum       *record.Summary
	hosts     map[netip.Addr]*record.HostSummary
	endpoints map[endpointKey]*record.EndpointSummary
}

type endpointKey struct {
	server  netip.AddrPort
	proto   uint8
	service string
}

// maxCollected bounds the hosts and endpoints that are kept.
const maxCollected = 1 << 16

func (c *collector) add(r *record.Record) {
	if c.sum.First.IsZero() || r.First.Before(c.sum.First) {
		c.sum.First = r.First
	}
	if r.Last.After(c.sum.Last) {
		c.sum.Last = r.Last
	}
	if r.State != "active" {
		c.sum.Packets += r.Packets[0] + r.Packets[1]
		c.sum.IPBytes += r.Bytes[0] + r.Bytes[1]
	}
	for _, h := range [...]*record.Host{&r.Client, &r.Server} {
		if len(h.Roles) == 0 {
			continue
		}
		known := c.hosts[h.Addr]
		if known == nil {
			if len(c.hosts) >= maxCollected {
				continue
			}
			known = &record.HostSummary{Addr: h.Addr}
			c.hosts[h.Addr] = known
		}
		known.Name = h.Name
		for _, role := range h.Roles {
			if !slices.ContainsFunc(known.Roles, func(p record.RoleProof) bool { return p.Role == role }) {
				known.Roles = append(known.Roles, record.RoleProof{Role: role, Evidence: fromRecord})
			}
		}
	}
	if r.Endpoint == nil {
		return
	}
	k := endpointKey{netip.AddrPortFrom(r.Server.Addr, r.Server.Port), r.Proto, r.Endpoint.Service}
	e := c.endpoints[k]
	if e == nil {
		if len(c.endpoints) >= maxCollected {
			return
		}
		e = &record.EndpointSummary{Server: k.server, UDP: r.Proto == capture.UDP, LearnedEndpoint: *r.Endpoint}
		c.endpoints[k] = e
	}
	if r.State != "active" {
		e.Flows++
	}
}

func (c *collector) summary(damage []error) *record.Summary {
	c.sum.Errors = damage
	for _, h := range c.hosts {
		c.sum.Hosts = append(c.sum.Hosts, *h)
	}
	slices.SortFunc(c.sum.Hosts, func(a, b record.HostSummary) int { return a.Addr.Compare(b.Addr) })
	for _, e := range c.endpoints {
		c.sum.Endpoints = append(c.sum.Endpoints, *e)
	}
	slices.SortFunc(c.sum.Endpoints, func(a, b record.EndpointSummary) int {
		if d := a.Server.Compare(b.Server); d != 0 {
			return d
		}
		return strings.Compare(a.Service, b.Service)
	})
	return c.sum
}
