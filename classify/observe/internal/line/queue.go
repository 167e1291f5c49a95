package line

// Queue has the commands that were sent and not answered yet, by kind. It joins
// the answers of a protocol that gives one to each command, in their order. The
// zero value is empty.
type Queue struct {
	runs [8]struct {
		kind  uint8
		count int
	}
	n int
}

// Push adds a command. Commands of one kind in a row need one place; where the
// places are used up, a command takes the kind of the one before it.
func (q *Queue) Push(kind uint8) {
	if q.n == 0 || q.runs[q.n-1].kind != kind && q.n < len(q.runs) {
		q.runs[q.n].kind, q.runs[q.n].count = kind, 1
		q.n++
		return
	}
	q.runs[q.n-1].count++
}

// Empty says whether every command was answered.
func (q *Queue) Empty() bool { return q.n == 0 }

// Peek returns the kind of the oldest command, or 0 where there is none.
func (q *Queue) Peek() uint8 {
	if q.n == 0 {
		return 0
	}
	return q.runs[0].kind
}

// Pop removes the oldest command, if there is one.
func (q *Queue) Pop() {
	if q.n == 0 {
		return
	}
	if q.runs[0].count--; q.runs[0].count == 0 {
		copy(q.runs[:], q.runs[1:q.n])
		q.n--
	}
}
