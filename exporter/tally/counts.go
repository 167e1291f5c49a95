package tally

// Counts maps keys to counters. It refuses new keys when it is full, so that
// its memory does not grow with the number of flows.
type Counts[K comparable, V any] struct {
	// More is the number of flows whose key was refused.
	More uint64

	m   map[K]*V
	max int
	// recent holds the entries asked for lately: most flows are like one before.
	recent [1 << 9]struct {
		k K
		v *V
	}
}

// at returns the counters of k, or nil if the map is full. hint is a number
// that is the same for the same key and differs between most keys.
func (c *Counts[K, V]) at(k K, hint int) *V {
	r := &c.recent[uint(hint)%uint(len(c.recent))]
	if r.v == nil || r.k != k {
		r.k, r.v = k, c.m[k]
		if r.v == nil {
			r.v = c.add(k)
		}
	}
	return r.v
}

func (c *Counts[K, V]) add(k K) *V {
	limit := c.max
	if limit == 0 {
		limit = MaxKept
	}
	if len(c.m) >= limit {
		c.More++
		return nil
	}
	if c.m == nil {
		c.m = map[K]*V{}
	}
	v := new(V)
	c.m[k] = v
	return v
}

// Len returns the number of keys.
func (c *Counts[K, V]) Len() int { return len(c.m) }

// Get returns the counters of k, or nil.
func (c *Counts[K, V]) Get(k K) *V { return c.m[k] }

// All returns every key with its counters. The caller must not change it.
func (c *Counts[K, V]) All() map[K]*V { return c.m }
