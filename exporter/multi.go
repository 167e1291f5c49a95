// Package exporter joins the outputs. Each package below it turns records into
// one kind of output.
package exporter

import (
	"errors"

	"github.com/exspan/exspan/classify/record"
)

// Multi returns a sink that hands every record and the summary to all sinks, in
// the order given; there is at least one. It serves the others when one fails, and
// returns all errors joined.
func Multi(sinks ...record.Sink) record.Sink {
	all := sinks[len(sinks)-1]
	for i := len(sinks) - 2; i >= 0; i-- {
		all = &pair{sinks[i], all}
	}
	return all
}

// pair is two sinks. Pairs of pairs take half the instructions of a loop, which
// counts where flows are many and little is done with each.
type pair struct{ first, second record.Sink }

func (p *pair) Write(r *record.Record) error {
	return join(p.first.Write(r), p.second.Write(r))
}

func (p *pair) Close(sum *record.Summary) error {
	return join(p.first.Close(sum), p.second.Close(sum))
}

func join(a, b error) error {
	if a == nil && b == nil {
		return nil
	}
	return errors.Join(a, b)
}
