package capture

// Batch is a run of packets in the order they were read. The packets and
// their payloads belong to the source and are valid until Release.
type Batch struct {
	// Packets can be empty where frames were skipped only, or with Tick.
	Packets []Packet
	// Stats are the source's counts as they stood after the batch's last frame.
	Stats Stats
	// Tunnels describes what Packet.Tunnel names; nil where no packet came in a tunnel.
	// It is the same for all batches of a source, or nil.
	Tunnels *Tunnels
	// Tick is set on a batch without packets that a live source returns when
	// nothing arrived for a while: the wall clock's time in nanoseconds since the
	// Unix epoch, so that idle flows can end. Where frames arrived that became no
	// packets it is the time of the last one. It is 0 for files.
	Tick int64
	// release is the source's own: what has to be given back.
	release func()
}

// Release gives the batch's memory back to its source.
func (b *Batch) Release() {
	if b.release != nil {
		b.release()
	}
}

// Source delivers batches of packets: capture files, standard input or
// interfaces. It is used by one goroutine.
type Source interface {
	// Read returns the next batch, or nil and io.EOF at the end. Any other
	// error is final too, and is returned after every packet read before it.
	Read() (*Batch, error)
	// Close frees what the source holds; a Read under way returns soon.
	Close() error
}

// Pieces is a Source that several goroutines can read, each a piece of it.
type Pieces interface {
	Source
	// Fetch reads piece n, counted from 0, into memory, as far as that can be done
	// apart from decoding it. Several goroutines may each fetch another piece.
	Fetch(n int)
	// Decode appends the batches of the next piece to list. At the end it returns
	// io.EOF, or another error, with the last ones. It is used by one goroutine at a
	// time.
	Decode(list []*Batch) ([]*Batch, error)
}
