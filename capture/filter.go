package capture

// filter is a BPF expression compiled for one link type.
type filter struct{}

func newFilter(expr string, link uint16) (*filter, error) { return nil, nil }

func (f *filter) match(data []byte, wire uint32) bool { return true }
