package classify

import (
	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify/flow"
	"github.com/exspan/exspan/classify/record"
)

// outcomeOf returns how a flow's set-up went, at the end of the flow or of the
// input.
func (e *Engine) outcomeOf(s *slot) record.Outcome {
	f := s.Flow
	if f.Proto != capture.TCP {
		switch {
		case f.BothWays():
			return record.Answered
		case s.has(prohibited) || e.droppedBy(s) != "":
			return record.Prohibited
		case f.Seen&flow.SeenRefused != 0 || s.has(refused):
			return record.Refused
		case e.oneWay(f):
			return record.OneWay
		case e.asks(s) && !e.counts.loss.lossy(f):
			return record.Unanswered
		}
		return ""
	}
	switch {
	case s.has(prohibited) || e.droppedBy(s) != "":
		return record.Prohibited
	case f.Seen&flow.SeenRefused != 0 || s.has(refused):
		return record.Refused
	case f.Seen&flow.SeenSYNACK != 0:
		return record.Answered
	case !f.BothWays() && e.oneWay(f):
		return record.OneWay
	case f.Seen&flow.SeenSYN == 0:
		return record.Midstream
	case f.BothWays():
		return record.Answered // the SYN-ACK was missed, an answer was not
	case e.counts.loss.lossy(f):
		return record.Incomplete
	case f.Seen&flow.SeenSYNAgain != 0 || e.clock-f.Last >= flow.AnswerTimeout:
		return record.Unanswered
	}
	return record.Incomplete
}
