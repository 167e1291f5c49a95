package record

import "github.com/exspan/exspan/rules"

// Candidate is a row that a flow could follow by its port or its content, and how
// the flow was held against it.
type Candidate struct {
	Path *rules.DataPath
	// Chosen reports whether the verdict names the row.
	Chosen bool
	// For and Against are the conditions that hold and those that fail, in words.
	// A row that was not chosen has at least one of the latter.
	For, Against []string
}
