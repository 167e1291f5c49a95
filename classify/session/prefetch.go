package session

// Touch starts the memory reads that the next packet of a flow needs, so that
// those of several flows overlap. The caller keeps the result alive, or the
// compiler would leave the reads out.
//
// The usual packet needs the first two lines of the cache of a conn, so Touch reads
// both. A block of conns lies on pages of its own, so that each conn begins with a line.
func (r *Reader) Touch(st *State) uint64 {
	if st.conn == 0 {
		return 0
	}
	c := r.conns.all[st.conn-1]
	return c.number + uint64(c.streams[0].next)
}

// TouchEnd does as Touch does for a flow that is to end.
func (r *Reader) TouchEnd(st *State) uint64 {
	if st.conn == 0 && st.content != 0 {
		return uint64(r.contents.at(st.content).facts.Dropped)
	}
	return r.Touch(st)
}
