package knowledge

import (
	"cmp"
	"slices"
)

// View is what one sensor says of a thing.
type View struct {
	Sensor string
	Value
}

// MaxViews bounds the sensors whose views of one thing are kept.
const MaxViews = 32

// Views are what sensors say of one thing, in order of their names. Each sensor
// has one view: the last that it told.
type Views []View

// Put takes a view in and reports whether there was room and it is news. Putting
// views in any order, and more than once, gives the same Views.
func (v *Views) Put(x View) bool {
	i, found := slices.BinarySearchFunc(*v, x.Sensor, func(a View, sensor string) int { return cmp.Compare(a.Sensor, sensor) })
	if found {
		if (*v)[i].compare(&x) >= 0 {
			return false
		}
		(*v)[i] = x
		return true
	}
	if len(*v) >= MaxViews {
		return false
	}
	*v = slices.Insert(*v, i, x)
	return true
}

// compare orders the views of one sensor by when it told them. Of two that it told
// at once, the order only has to be the same everywhere.
func (v *View) compare(w *View) int {
	return cmp.Or(cmp.Compare(v.At, w.At), cmp.Compare(v.Proof, w.Proof), cmp.Compare(v.Used, w.Used), cmp.Compare(w.Learned, v.Learned),
		cmp.Compare(v.Ended, w.Ended), cmp.Compare(v.Source, w.Source), cmp.Compare(v.Text, w.Text))
}

// Drop takes out the views of sensors for which gone is true.
func (v *Views) Drop(gone func(sensor string) bool) {
	*v = slices.DeleteFunc(*v, func(x View) bool { return gone(x.Sensor) })
}

// Merged returns what all views together say: the strongest proof, the earliest time
// of learning, the latest use and the latest end. It has ended only if all say so, so no
// sensor can end what another one still holds, and it is disputed only if all say so that
// prove as much. All else is from the view that proves most, of equal ones that of the
// first name: sensors can make up times, but not their names. Views must not be empty.
func (v Views) Merged() View {
	best := &v[0]
	for i := range v[1:] {
		if x := &v[i+1]; x.rank() > best.rank() {
			best = x
		}
	}
	m := *best
	for i := range v {
		x := &v[i]
		m.At, m.Used, m.Expires = max(m.At, x.At), max(m.Used, x.Used), max(m.Expires, x.Expires)
		m.Learned, m.Proof = min(m.Learned, x.Learned), max(m.Proof, x.Proof)
		if x.Dispute == "" && x.rank() == best.rank() {
			m.Dispute = ""
		}
		if x.Ended == 0 || m.Ended == 0 {
			m.Ended = 0
		} else {
			m.Ended = max(m.Ended, x.Ended)
		}
	}
	return m
}

// rank orders views by how much they prove.
func (v *View) rank() int {
	r := 2 * int(v.Proof)
	if !v.Strange {
		r += 64
	}
	if !v.Datagram {
		r++
	}
	return r
}
