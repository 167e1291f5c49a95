package match

import "github.com/exspan/exspan/classify/observe"

// Service is what was announced of one service of an endpoint.
type Service struct {
	// Name is the short name, or "UUID vX.Y" for an interface without one.
	Name string
	// Annotation is the endpoint mapper's text, if any.
	Annotation string
	Source     observe.Source
	// Protocol is the protocol that the endpoint speaks.
	Protocol string
	// Weak reports whether the announcement's own form is all that speaks for it.
	Weak bool
	// Dispute is what contradicts the announcement, in words; empty for nothing.
	Dispute string
}

// Announced is the list of the services announced for one endpoint, the one
// that proves most first. Equal lists are mostly the same, and a list must not
// be changed.
type Announced struct {
	Services []Service
	// ID differs between most lists.
	ID uint64
}
