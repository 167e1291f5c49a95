package exporter

import (
	"encoding/json"
	"io"
)

// JSON writes v as JSON (RFC 8259) with indentation, for programs and readers. Characters
// of HTML stand as they are.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
