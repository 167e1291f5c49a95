package capture

import (
	"bytes"

	"github.com/exspan/exspan/capture/etw"
)

// content is what a file is by its first bytes; names and extensions say nothing.
type content uint8

const (
	contentUnknown content = iota
	contentPcap
	contentPcapng
	contentGzip
	contentZstd
	contentWindows // what package etw reads
	contentRefused // what is not read, with a word on what to do
)

// magics is all that files are recognised by, but for event trace logs, which have
// no magic number.
var magics = []struct {
	begin   string
	content content
	advice  string
}{
	{"\xd4\xc3\xb2\xa1", contentPcap, ""},
	{"\xa1\xb2\xc3\xd4", contentPcap, ""},
	{"\x4d\x3c\xb2\xa1", contentPcap, ""},
	{"\xa1\xb2\x3c\x4d", contentPcap, ""},
	{"\x34\xcd\xb2\xa1", contentPcap, ""},
	{"\xa1\xb2\xcd\x34", contentPcap, ""},
	{"\x0a\x0d\x0d\x0a", contentPcapng, ""},
	{"\x1f\x8b", contentGzip, ""},
	{"\x28\xb5\x2f\xfd", contentZstd, ""},
	{"RTSS", contentWindows, ""},
	{"GMBU", contentWindows, ""},
	{"MSCF", contentRefused, "a cabinet, as netsh trace writes beside its trace; take the trace out of it with: expand NetTrace.cab -F:*.etl ."},
	{"\x04\x22\x4d\x18", contentRefused, "compressed with lz4, which is not read; use lz4 -d first"},
	{"\xfd7zX", contentRefused, "compressed with xz, which is not read; use xz -dc first"},
	{"BZh", contentRefused, "compressed with bzip2, which is not read; use bzip2 -dc first"},
}

// detect returns what a file is that begins with head. Of most four bytes suffice;
// etw.HeadSize tell all.
func detect(head []byte) (c content, advice string) {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.begin)) {
			return m.content, m.advice
		}
	}
	if etw.Is(head) {
		return contentWindows, ""
	}
	return contentUnknown, ""
}
