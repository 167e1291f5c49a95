package pipeline

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes as a flag: "64MiB", "100MB", "4096".
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func (s *Size) String() string {
	n := int64(*s)
	for _, u := range []int{3, 2, 1, 0} {
		if unit := sizeUnits[u]; n >= unit.bytes && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// Set parses a size: a number of bytes, or a number with a unit such as MiB or MB.
func (s *Size) Set(text string) error {
	number, factor := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("%q is not a size; write 4096, 64MiB or 100MB", text)
	}
	*s = Size(n * factor)
	return nil
}

// Type returns the word that stands for a size in help texts.
func (s *Size) Type() string { return "SIZE" }
