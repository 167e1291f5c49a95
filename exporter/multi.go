// Package exporter joins the outputs. Each package below it turns records into
// one kind of output.
package exporter

import (
	"errors"

	"github.com/exspan/exspan/classify/record"
)

// Multi returns a sink that hands every record and the summary to all sinks, in
// the order given. It serves the others when one fails, and returns all errors
// joined.
func Multi(sinks ...record.Sink) record.Sink {
	if len(sinks) == 1 {
		return sinks[0]
	}
	return multi(sinks)
}

type multi []record.Sink

func (m multi) Write(r *record.Record) error {
	var errs []error
	for _, s := range m {
		if err := s.Write(r); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (m multi) Close(sum *record.Summary) error {
	var errs []error
	for _, s := range m {
		if err := s.Close(sum); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
