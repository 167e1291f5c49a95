package pipeline

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/exspan/exspan/classify"
)

const (
	// programBytes is what a run takes besides the engine's shares and the buffers:
	// the program, the rules, blocks of captures, fragments and observers kept for flows
	// to come. Of that, the Go runtime does not count foreignBytes: the program's file.
	programBytes = 48 << 20
	foreignBytes = 24 << 20

	leastMemory = 96 << 20 // that --max-memory takes
	leastTables = 16 << 20 // that are left for the engine
	anyMemory   = 4 << 30  // where the system does not tell what it has
)

// Buffers are what a run holds besides the engine, in bytes.
type Buffers struct {
	Heap   int64 // in the memory of the Go runtime
	Kernel int64 // shared with the kernel
}

// Memory returns the number of bytes that the run may take: what --max-memory or
// $GOMEMLIMIT says, whichever is less, or half of what there is.
func (o *Options) Memory() int64 {
	n := int64(o.MaxMemory)
	if n == 0 {
		n = systemMemory() / 2
	}
	return min(n, userLimit)
}

// systemMemory returns the number of bytes of memory that the machine or the cgroup
// has. To learn that takes several files, so it asks once.
var systemMemory = sync.OnceValue(func() int64 {
	system, err := memlimit.FromSystem()
	if err != nil || system == 0 {
		system = anyMemory
	}
	if group, err := memlimit.FromCgroup(); err == nil && group > 0 {
		system = min(system, group)
	}
	return int64(min(system, math.MaxInt64))
})

// userLimit is what $GOMEMLIMIT says, as the runtime took it at the start.
var userLimit = debug.SetMemoryLimit(-1)

// engineMemory returns what is left for the engine.
func (o *Options) engineMemory() int64 {
	return max(o.Memory()-programBytes-o.Buffers.Heap-o.Buffers.Kernel, leastTables)
}

// heapLimit returns the limit of the memory of the Go runtime, which can go somewhat
// beyond it while it collects garbage.
func (o *Options) heapLimit() int64 {
	return max(o.Memory()/16*13-foreignBytes-o.Buffers.Kernel, leastMemory/2)
}

// LimitHeap makes the Go runtime collect garbage in time to stay below --max-memory.
// It returns the function that undoes that.
func (o *Options) LimitHeap() (undo func()) {
	old := debug.SetMemoryLimit(o.heapLimit())
	return func() { debug.SetMemoryLimit(old) }
}

// limits returns the engine's share of the memory.
func (o *Options) limits() classify.Limits {
	l := classify.LimitsOf(o.engineMemory())
	if o.maxHeld != nil && o.maxHeld.Changed {
		l.MaxHeld = o.MaxHeld
	}
	return l
}

// checkMemory returns the mistakes in --max-memory.
func (o *Options) checkMemory() []error {
	if o.MaxMemory != 0 && o.MaxMemory < leastMemory {
		least := Size(leastMemory)
		return []error{fmt.Errorf("--max-memory: %s is less than %s", o.MaxMemory.String(), least.String())}
	}
	return nil
}
