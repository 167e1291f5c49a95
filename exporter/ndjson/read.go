package ndjson

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/rules"
)

// maxLine is the maximum length of a line in bytes. Records are far shorter.
const maxLine = 16 << 20

// end is the JSON form of a host.
type end struct {
	IP    netip.Addr `json:"ip"`
	Port  uint16     `json:"port"`
	Name  string     `json:"name"`
	Roles []string   `json:"roles"`
}

type direction struct {
	ToServer uint64 `json:"to_server"`
	ToClient uint64 `json:"to_client"`
}

func (d direction) count() record.Count { return record.Count{d.ToServer, d.ToClient} }

// line is the JSON form of a record.
type line struct {
	First    time.Time  `json:"first"`
	Last     time.Time  `json:"last"`
	Sensor   string     `json:"sensor"`
	Face     string     `json:"interface"`
	Legs     string     `json:"conversation"`
	Proto    string     `json:"proto"`
	Client   *end       `json:"client"`
	Server   *end       `json:"server"`
	VLAN     []string   `json:"vlan"`
	Packets  direction  `json:"packets"`
	Bytes    direction  `json:"bytes"`
	GapBytes direction  `json:"gap_bytes"`
	State    string     `json:"state"`
	Outcome  string     `json:"outcome"`
	SetupUS  int64      `json:"setup_us"`
	Protocol string     `json:"protocol"`
	GivenUp  string     `json:"given_up"`
	Facts    orderedMap `json:"facts"`
	Endpoint *struct {
		Service    string         `json:"service"`
		Annotation string         `json:"annotation"`
		Source     string         `json:"source"`
		From       netip.AddrPort `json:"from"`
		Announced  netip.Addr     `json:"announced"`
		Learned    time.Time      `json:"learned"`
		Sensor     string         `json:"sensor"`
	} `json:"endpoint"`
	Verdict *struct {
		Status     string   `json:"status"`
		Path       string   `json:"path"`
		Also       []string `json:"also"`
		Group      string   `json:"group"`
		Confidence string   `json:"confidence"`
		Version    string   `json:"version"`
		Source     string   `json:"version_source"`
		Reason     string   `json:"reason"`
		Why        string   `json:"why"`
		Findings   []struct {
			ID     string `json:"id"`
			Level  string `json:"level"`
			Detail string `json:"detail"`
		} `json:"findings"`
	} `json:"verdict"`
}

// orderedMap preserves the order of the members of an object.
type orderedMap []observe.Fact

func (m *orderedMap) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var values []string
		if err := d.Decode(&values); err != nil {
			return err
		}
		for _, v := range values {
			*m = append(*m, observe.Fact{Name: name.(string), Value: v})
		}
	}
	return nil
}

// A Reader reads records that a Sink wrote.
type Reader struct {
	in    *bufio.Reader
	packs *rules.Packs
	line  int
	data  []byte                     // of the last record
	paths map[string]*rules.DataPath // paths that no pack contains, by id
}

// NewReader returns a Reader of r. packs contains the data paths that the records name. A
// path that packs lacks has only its id.
func NewReader(r io.Reader, packs *rules.Packs) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 1<<16), packs: packs, paths: map[string]*rules.DataPath{}}
}

// Read returns the next record, or io.EOF after the last one. Other errors name the
// line.
func (r *Reader) Read() (*record.Record, error) {
	for {
		data, err := r.readLine()
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(data, &l); err != nil {
			return nil, fmt.Errorf("line %d: not a flow record: %w", r.line, err)
		}
		r.data = data
		rec, err := r.record(&l)
		if err != nil {
			return nil, fmt.Errorf("line %d: not a flow record: %w", r.line, err)
		}
		return rec, nil
	}
}

// Line returns the line of the record that Read returned last, without its end. It is valid
// until the next call of Read.
func (r *Reader) Line() []byte { return r.data }

func (r *Reader) readLine() ([]byte, error) {
	var long []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if err == nil || errors.Is(err, io.EOF) && len(part)+len(long) > 0 {
			r.line++
			if long != nil {
				part = append(long, part...)
			}
			for len(part) > 0 && (part[len(part)-1] == '\n' || part[len(part)-1] == '\r') {
				part = part[:len(part)-1]
			}
			return part, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if long = append(long, part...); len(long) > maxLine {
			return nil, fmt.Errorf("line %d is longer than %d bytes", r.line+1, maxLine)
		}
	}
}

func (r *Reader) record(l *line) (*record.Record, error) {
	if l.Client == nil || l.Server == nil || l.Verdict == nil {
		return nil, errors.New("client, server or verdict is missing")
	}
	rec := &record.Record{
		First: l.First, Last: l.Last, VLANs: l.VLAN, Packets: l.Packets.count(), Bytes: l.Bytes.count(), GapBytes: l.GapBytes.count(),
		State: l.State, Outcome: record.Outcome(l.Outcome), Protocol: l.Protocol, GivenUp: l.GivenUp, Conversation: l.Legs, Sensor: l.Sensor, Interface: l.Face, SetupTime: time.Duration(l.SetupUS) * time.Microsecond,
		Client: record.Host{Addr: l.Client.IP, Port: l.Client.Port, Name: l.Client.Name, Roles: l.Client.Roles},
		Server: record.Host{Addr: l.Server.IP, Port: l.Server.Port, Name: l.Server.Name, Roles: l.Server.Roles},
	}
	switch l.Proto {
	case "tcp":
		rec.Proto = capture.TCP
	case "udp":
		rec.Proto = capture.UDP
	case "esp":
		rec.Proto = capture.ESP
	default:
		return nil, fmt.Errorf("unknown proto %q", l.Proto)
	}
	if len(l.Facts) > 0 {
		rec.Facts = &observe.Facts{}
		for _, f := range l.Facts {
			rec.Facts.Add(f.Name, f.Value)
		}
	}
	if e := l.Endpoint; e != nil {
		rec.Endpoint = &record.LearnedEndpoint{Service: e.Service, Annotation: e.Annotation, Source: observe.Source(e.Source), From: e.From,
			Announced: e.Announced, Learned: e.Learned, Sensor: e.Sensor}
	}
	in, v := l.Verdict, &rec.Verdict
	v.Status, v.Reason, v.Why = record.Status(in.Status), record.Reason(in.Reason), in.Why
	v.Version, v.VersionSource = in.Version, record.VersionSource(in.Source)
	for c := record.NoConfidence; c <= record.Observed; c++ {
		if c.String() == in.Confidence {
			v.Confidence = c
		}
	}
	if in.Path != "" {
		v.Path, v.Group = r.path(in.Path), in.Group
		for _, id := range in.Also {
			v.Also = append(v.Also, r.path(id))
		}
	}
	for _, f := range in.Findings {
		v.Findings = append(v.Findings, record.Finding{ID: record.FindingID(f.ID), Level: record.Level(f.Level), Detail: f.Detail})
	}
	return rec, nil
}

// path returns the data path with an id.
func (r *Reader) path(id string) *rules.DataPath {
	if p := r.packs.Path(id); p != nil {
		return p
	}
	p := r.paths[id]
	if p == nil {
		p = &rules.DataPath{ID: id, Name: id, Group: id}
		r.paths[id] = p
	}
	return p
}
