package line

// Queue holds the kinds of commands that were sent and not yet answered. It matches the
// answers of a protocol that answers every command in order. The zero value is empty.
type Queue struct {
	kinds  [8]uint8
	n      uint8     // entries in use
	counts [8]uint32 // length of each run of equal kinds
}

// Push adds a command. A run of commands of one kind uses one entry. If all entries are
// in use, a command takes the kind of the previous one.
func (q *Queue) Push(kind uint8) {
	if q.n == 0 || q.kinds[q.n-1] != kind && int(q.n) < len(q.kinds) {
		q.kinds[q.n], q.counts[q.n] = kind, 1
		q.n++
		return
	}
	q.counts[q.n-1]++
}

// Empty reports whether all commands were answered.
func (q *Queue) Empty() bool { return q.n == 0 }

// Peek returns the kind of the oldest command, or 0 if there is none.
func (q *Queue) Peek() uint8 {
	if q.n == 0 {
		return 0
	}
	return q.kinds[0]
}

// Pop removes the oldest command, if any.
func (q *Queue) Pop() {
	if q.n == 0 {
		return
	}
	if q.counts[0]--; q.counts[0] == 0 {
		copy(q.kinds[:], q.kinds[1:q.n])
		copy(q.counts[:], q.counts[1:q.n])
		q.n--
	}
}
