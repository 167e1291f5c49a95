package parquet

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/communityid"
	"github.com/exspan/exspan/classify/observe"
	"github.com/exspan/exspan/classify/record"
)

// A row on its way to a file is bytes, because a record is valid during one call only,
// and bytes can be queued, bounded and written to a part. It is the length of the
// rest as a 32-bit number, the hour of its end since the Unix epoch, the number that
// identifies the flow, and the values of the leaves in the order of the schema with
// the column sensor. A value is a byte with its definition level and, in the upper
// half, its repetition level; behind that, if it is not null, is a varint, a string
// after its length, or an address of 16 bytes. Leaves that can have several values
// have their number before them.
const rowHead = 4 + 8 + 8

// appendRow appends r.
func appendRow(b []byte, r *record.Record) []byte {
	start := len(b)
	b = append(b, make([]byte, rowHead)...)
	b = appendTime(b, r.First.UnixNano(), r.First.IsZero(), 1)
	b = appendTime(b, r.Last.UnixNano(), r.Last.IsZero(), 1)
	b = text(b, r.Sensor)
	b = text(b, r.Interface)
	id := len(b) + 2
	b = append(b, 0, 0)
	b = communityid.AppendV1(b, r.Proto, netip.AddrPortFrom(r.Client.Addr, r.Client.Port), netip.AddrPortFrom(r.Server.Addr, r.Server.Port))
	b[id-1] = byte(len(b) - id) // less than 128
	identity := fnv(b[id:])
	b = text(b, r.Conversation)
	b = required(b, capture.ProtoName(r.Proto))
	b = appendHost(b, &r.Client)
	b = appendHost(b, &r.Server)
	b = list(b, r.VLANs)
	b = counts(b, r.Packets)
	b = counts(b, r.Bytes)
	if r.GapBytes == (record.Count{}) {
		b = append(b, 0, 0)
	} else {
		b = binary.AppendVarint(append(b, 1), int64(r.GapBytes[observe.ToServer]))
		b = binary.AppendVarint(append(b, 1), int64(r.GapBytes[observe.ToClient]))
	}
	b = text(b, r.State)
	b = text(b, string(r.Outcome))
	if r.SetupTime > 0 {
		b = binary.AppendVarint(append(b, 1), r.SetupTime.Microseconds())
	} else {
		b = append(b, 0)
	}
	b = text(b, r.Protocol)
	b = text(b, r.GivenUp)
	b = facts(b, r.Facts)
	b = appendEndpoint(b, r.Endpoint)
	b = appendVerdict(b, &r.Verdict)

	end := r.Last
	if end.IsZero() {
		end = r.First
	}
	hour := int64(0)
	if !end.IsZero() {
		hour = floorDiv(end.Unix(), 3600)
	}
	identity = mix(mix(identity, uint64(r.First.UnixNano())), uint64(r.Last.UnixNano()))
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	binary.LittleEndian.PutUint64(b[start+4:], uint64(hour))
	binary.LittleEndian.PutUint64(b[start+12:], identity)
	return b
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// fnv returns the FNV-1a hash of b in 64 bits.
func fnv(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// mix adds v to the hash h.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

func appendTime(b []byte, ns int64, null bool, level byte) []byte {
	if null {
		return append(b, level-1)
	}
	return binary.AppendVarint(append(b, level), ns)
}

// text appends an optional string at the top or in a required group; empty is null.
func text(b []byte, s string) []byte { return textAt(b, s, 1) }

// textAt appends an optional string whose definition level is level, or one less if
// it is empty.
func textAt(b []byte, s string, level byte) []byte {
	if s == "" {
		return append(b, level-1)
	}
	return str(append(b, level), s)
}

// required appends a required string.
func required(b []byte, s string) []byte { return str(append(b, 0), s) }

// str appends the length of s and s, whose invalid bytes become U+FFFD, as in NDJSON.
func str(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// list appends an optional list of strings; an empty one is null.
func list(b []byte, l []string) []byte {
	if len(l) == 0 {
		return append(b, 1, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(l)))
	for i, s := range l {
		b = str(append(b, level(i, 1, 2)), s)
	}
	return b
}

// level returns the levels of the value with index i of a list whose repetition level
// is rep.
func level(i int, rep, def byte) byte {
	if i == 0 {
		return def
	}
	return rep<<4 | def
}

func counts(b []byte, c record.Count) []byte {
	b = binary.AppendVarint(append(b, 0), int64(c[observe.ToServer]))
	return binary.AppendVarint(append(b, 0), int64(c[observe.ToClient]))
}

func appendHost(b []byte, h *record.Host) []byte {
	if h.Addr.IsValid() {
		at := len(b) + 2
		b = append(b, 1, 0)
		b = h.Addr.AppendTo(b)
		b[at-1] = byte(len(b) - at)
		a := h.Addr.As16()
		b = append(append(b, 1), a[:]...)
	} else {
		b = append(b, 0, 0)
	}
	b = binary.AppendVarint(append(b, 0), int64(h.Port))
	b = text(b, h.Name)
	return list(b, h.Roles)
}

// facts appends the two leaves of the map of facts: the names in the order of their
// first values, and the values of each. The quadratic search covers at most
// observe.MaxFactValues values.
func facts(b []byte, f *observe.Facts) []byte {
	if f == nil || f.Len() == 0 {
		return append(b, 1, 0, 1, 0)
	}
	all := f.All()
	names := 0
	for i := range all {
		if first(all, i) {
			names++
		}
	}
	b = binary.AppendUvarint(b, uint64(names))
	n := 0
	for i := range all {
		if first(all, i) {
			b = str(append(b, level(n, 1, 2)), all[i].Name)
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(len(all)))
	n = 0
	for i := range all {
		if !first(all, i) {
			continue
		}
		b = str(append(b, level(n, 1, 3)), all[i].Value)
		n++
		for j := i + 1; j < len(all); j++ {
			if all[j].Name == all[i].Name {
				b = str(append(b, 2<<4|3), all[j].Value)
			}
		}
	}
	return b
}

// first reports whether fact i is the first of its name.
func first(all []observe.Fact, i int) bool {
	for j := range i {
		if all[j].Name == all[i].Name {
			return false
		}
	}
	return true
}

func appendEndpoint(b []byte, e *record.LearnedEndpoint) []byte {
	if e == nil {
		return append(b, 0, 0, 0, 0, 0, 0)
	}
	b = textAt(b, e.Service, 2)
	b = textAt(b, e.Annotation, 2)
	b = textAt(b, string(e.Source), 2)
	if e.From.IsValid() {
		at := len(b) + 2
		b = append(b, 2, 0)
		b = e.From.AppendTo(b)
		b[at-1] = byte(len(b) - at)
	} else {
		b = append(b, 1)
	}
	if e.Announced.IsValid() {
		b = textAt(b, e.Announced.String(), 2)
	} else {
		b = append(b, 1)
	}
	return appendTime(b, e.Learned.UnixNano(), e.Learned.IsZero(), 2)
}

func appendVerdict(b []byte, v *record.Verdict) []byte {
	b = required(b, string(v.Status))
	if p := v.Path; p != nil {
		b = text(b, p.ID)
		if len(v.Also) == 0 {
			b = list(b, nil)
		} else {
			b = binary.AppendUvarint(b, uint64(len(v.Also)))
			for i, a := range v.Also {
				b = str(append(b, level(i, 1, 2)), a.ID)
			}
		}
		b = text(b, v.Group)
		b = text(b, v.Confidence.String())
		b = text(b, p.Confidence)
	} else {
		b = list(append(b, 0), nil)
		b = text(append(b, 0), v.Confidence.String())
		b = append(b, 0)
	}
	b = text(b, v.Version)
	b = text(b, string(v.VersionSource))
	b = text(b, string(v.Reason))
	b = text(b, v.Why)
	if len(v.Findings) == 0 {
		return append(b, 1, 0, 1, 0, 1, 0)
	}
	n := uint64(len(v.Findings))
	b = binary.AppendUvarint(b, n)
	for i := range v.Findings {
		b = str(append(b, level(i, 1, 2)), string(v.Findings[i].ID))
	}
	b = binary.AppendUvarint(b, n)
	for i := range v.Findings {
		b = str(append(b, level(i, 1, 2)), string(v.Findings[i].Level))
	}
	b = binary.AppendUvarint(b, n)
	for i := range v.Findings {
		if d := v.Findings[i].Detail; d != "" {
			b = str(append(b, level(i, 1, 3)), d)
		} else {
			b = append(b, level(i, 1, 2))
		}
	}
	return b
}

var errRow = errors.New("a row is damaged")

// A column is a leaf as a part names it.
type column struct {
	Path     string
	Kind     parquet.Kind
	Repeated bool `json:",omitempty"`
	Max      int  `json:",omitempty"`
}

func columnsOf(s *schema) []column {
	var list []column
	for _, l := range s.leaves {
		list = append(list, column{l.path, l.kind, l.repeated, l.max})
	}
	return list
}

// A decoder makes rows of Parquet from rows of bytes with other columns, which an
// earlier version of the program may have written.
type decoder struct {
	columns []column
	to      []int             // the leaf that a column goes to, or -1
	values  [][]parquet.Value // of a row, by leaf
}

func newDecoder(from []column, s *schema) *decoder {
	d := &decoder{columns: from, values: make([][]parquet.Value, len(s.leaves))}
	at := map[string]int{}
	for i, l := range s.leaves {
		at[l.path] = i
		v := parquet.NullValue()
		if l.max == 0 {
			v = parquet.ZeroValue(l.kind)
		}
		d.values[i] = []parquet.Value{v.Level(0, 0, i)}
	}
	for _, c := range from {
		i, ok := at[c.Path]
		if l := s.leaves[max(i, 0)]; !ok || l.kind != c.Kind || l.repeated != c.Repeated || l.max != c.Max {
			i = -1
		}
		d.to = append(d.to, i)
	}
	return d
}

// row appends the values of a row, without its head, to dst. They refer to b.
func (d *decoder) row(dst parquet.Row, b []byte) (parquet.Row, error) {
	for i, c := range d.columns {
		n := uint64(1)
		if c.Repeated {
			var size int
			if n, size = binary.Uvarint(b); size <= 0 || n == 0 || n > uint64(len(b)) {
				return dst, errRow
			}
			b = b[size:]
		}
		leaf := d.to[i]
		var values []parquet.Value
		if leaf >= 0 {
			values = d.values[leaf][:0]
		}
		for range n {
			var v parquet.Value
			var ok bool
			if v, b, ok = c.value(b, max(leaf, 0)); !ok {
				return dst, errRow
			}
			if leaf >= 0 {
				values = append(values, v)
			}
		}
		if leaf >= 0 {
			d.values[leaf] = values
		}
	}
	if len(b) > 0 {
		return dst, errRow
	}
	for _, v := range d.values {
		dst = append(dst, v...)
	}
	return dst, nil
}

// value returns the first value of b and what comes after it.
func (c *column) value(b []byte, leaf int) (v parquet.Value, rest []byte, ok bool) {
	if len(b) == 0 {
		return v, b, false
	}
	rep, def := int(b[0]>>4), int(b[0]&0xf)
	if b = b[1:]; def > c.Max {
		return v, b, false
	}
	if def < c.Max {
		return parquet.NullValue().Level(rep, def, leaf), b, true
	}
	switch c.Kind {
	case parquet.ByteArray:
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return v, b, false
		}
		v, b = parquet.ByteArrayValue(b[size:size+int(n)]), b[size+int(n):]
	case parquet.FixedLenByteArray:
		if len(b) < 16 {
			return v, b, false
		}
		v, b = parquet.FixedLenByteArrayValue(b[:16]), b[16:]
	default:
		n, size := binary.Varint(b)
		if size <= 0 || c.Kind == parquet.Int32 && (n < math.MinInt32 || n > math.MaxInt32) {
			return v, b, false
		}
		b = b[size:]
		if c.Kind == parquet.Int32 {
			v = parquet.Int32Value(int32(n))
		} else {
			v = parquet.Int64Value(n)
		}
	}
	return v.Level(rep, def, leaf), b, true
}

// A head is what stands before the values of a row.
type head struct {
	hour     int64
	identity uint64
}

// sensorOf returns the sensor of a row without its head.
func sensorOf(b []byte) (string, error) {
	for _, c := range [2]column{{Kind: parquet.Int64, Max: 1}, {Kind: parquet.Int64, Max: 1}} {
		_, rest, ok := c.value(b, 0)
		if !ok {
			return "", errRow
		}
		b = rest
	}
	v, _, ok := (&column{Kind: parquet.ByteArray, Max: 1}).value(b, 0)
	if !ok {
		return "", errRow
	}
	return string(v.ByteArray()), nil
}

// next returns the first row of b, its head, and what comes after it.
func next(b []byte) (h head, row, rest []byte, err error) {
	if len(b) < rowHead {
		return h, nil, nil, errRow
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < rowHead-4 || n > len(b)-4 {
		return h, nil, nil, errRow
	}
	h.hour, h.identity = int64(binary.LittleEndian.Uint64(b[4:])), binary.LittleEndian.Uint64(b[12:])
	return h, b[rowHead : 4+n], b[4+n:], nil
}
