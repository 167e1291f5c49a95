package exporter

import (
	"errors"
	"testing"

	"github.com/exspan/exspan/classify/record"
)

type counter struct {
	records, closed int
	err             error
}

func (c *counter) Write(*record.Record) error  { c.records++; return c.err }
func (c *counter) Close(*record.Summary) error { c.closed++; return c.err }

func TestMulti(t *testing.T) {
	broken := &counter{err: errors.New("disk full")}
	good := &counter{}
	m := Multi(broken, good)
	for range 3 {
		if err := m.Write(&record.Record{}); !errors.Is(err, broken.err) {
			t.Errorf("Write: %v", err)
		}
	}
	if err := m.Close(&record.Summary{}); !errors.Is(err, broken.err) {
		t.Errorf("Close: %v", err)
	}
	if good.records != 3 || good.closed != 1 || broken.records != 3 || broken.closed != 1 {
		t.Errorf("good %+v, broken %+v", good, broken)
	}
	if Multi(good) != record.Sink(good) {
		t.Error("a single sink is wrapped")
	}
}
