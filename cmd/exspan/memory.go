package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/parquet"
	"github.com/exspan/exspan/exporter/pcapng"
)

// size is a number of bytes as a flag.
type size = pipeline.Size

// monitorMemory is the default of --max-memory where interfaces are watched.
const monitorMemory = 512 << 20

// sizeBuffers gives the buffers that no flag sets their parts of --max-memory: an
// eighth to what the kernel holds for the interfaces, as much to the packets that
// --write keeps waiting, and a thirty-second to the records that wait for each of one
// or two outputs, or less if there are more.
func (m *monitor) sizeBuffers(flags *pflag.FlagSet) {
	part := func(name string, to *size, n size) {
		if f := flags.Lookup(name); f != nil && !f.Changed {
			*to = min(*to, max(n, 1<<20))
		}
	}
	part("buffer-size", &m.buffer, m.MaxMemory/8/size(max(len(m.interfaces), 1)))
	part("write-buffer", &m.writeBuffer, m.MaxMemory/8)
	part("queue-size", &m.queue, m.MaxMemory/16/size(max(m.outputs(), 2)))
}

// outputs returns the number of outputs that have a queue.
func (m *monitor) outputs() int {
	n := 0
	for _, output := range []string{m.ndjson, m.write, m.parquet} {
		if output != "" {
			n++
		}
	}
	return n
}

// shareMemory takes the buffers off what the engine may take.
func (m *monitor) shareMemory() {
	b := pipeline.Buffers{Kernel: int64(m.buffer) * int64(len(m.interfaces))}
	b.Heap = 3 * int64(m.queue) * int64(m.outputs()) // what waits, what is being written, and room to grow
	if m.write != "" {
		b.Heap += int64(m.writeBuffer) * 3 / 2
	}
	if m.parquet != "" {
		b.Heap += parquet.Memory
	}
	m.Buffers = b
}

// checkMemory returns an error if buffers leave too little for flows.
func (m *monitor) checkMemory() error {
	m.shareMemory()
	if buffers := size(m.Buffers.Heap + m.Buffers.Kernel); m.MaxMemory >= 96<<20 && buffers > m.MaxMemory*5/8 {
		return fmt.Errorf("--max-memory: %s is too little beside buffers that can take %d MiB: --buffer-size for each interface, --write-buffer and three times --queue-size",
			m.MaxMemory.String(), buffers>>20)
	}
	return nil
}

// shareMemory takes what the report and --write hold off what the engine may take.
func (a *analysis) shareMemory() {
	a.Buffers = pipeline.Buffers{}
	if a.write != "" {
		a.Buffers.Heap += pcapng.MaxFlows * 320
	}
	if a.parquet != "" {
		a.Buffers.Heap += parquet.Memory
	}
	if a.by != "" || a.sort != "" {
		a.rows = a.Memory() / 4
		a.Buffers.Heap += a.rows
	}
}
