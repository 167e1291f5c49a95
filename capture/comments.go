package capture

import "github.com/exspan/exspan/capture/etw"

// Options of pcapng blocks (draft-ietf-opsawg-pcapng section 3.5 and 4.2).
const (
	optionComment    = 1
	optionName       = 2
	optionResolution = 9
)

type comments map[[2]uint64]string

func (c comments) of(*etw.Frame) string     { return "" }
func (c comments) name(interfaceKey) string { return "" }
