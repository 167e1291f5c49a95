package etw_test

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/exspan/exspan/capture/etw/etwtest"
)

func order(list []etwtest.Frame) {
	slices.SortStableFunc(list, func(a, b etwtest.Frame) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), bytes.Compare(unsum(a.Data), unsum(b.Data)))
	})
}

// unsum zeroes the checksums of an IPv4 frame, which differ between layers.
func unsum(f []byte) []byte {
	f = bytes.Clone(f)
	if len(f) < 34 || f[12] != 8 || f[13] != 0 {
		return f
	}
	f[24], f[25] = 0, 0
	at := 14 + int(f[14]&15)*4
	switch f[23] {
	case 6:
		at += 16
	case 17:
		at += 6
	}
	if len(f) >= at+2 && at > 34-1 {
		f[at], f[at+1] = 0, 0
	}
	return f
}
