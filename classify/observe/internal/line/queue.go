package line

// Queue has the commands that were sent and not answered yet, by kind. It joins
// the answers of a protocol that gives one to each command, in their order. The
// zero value is empty.
type Queue struct {
	kinds  [8]uint8
	n      uint8     // kinds in use
	counts [8]uint32 // how many of each there are in a row
}

// Push adds a command. Commands of one kind in a row need one place; where the
// places are used up, a command takes the kind of the one before it.
func (q *Queue) Push(kind uint8) {
	if q.n == 0 || q.kinds[q.n-1] != kind && int(q.n) < len(q.kinds) {
		q.kinds[q.n], q.counts[q.n] = kind, 1
		q.n++
		return
	}
	q.counts[q.n-1]++
}

// Empty reports whether every command was answered.
func (q *Queue) Empty() bool { return q.n == 0 }

// Peek returns the kind of the oldest command, or 0 where there is none.
func (q *Queue) Peek() uint8 {
	if q.n == 0 {
		return 0
	}
	return q.kinds[0]
}

// Pop removes the oldest command, if there is one.
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
