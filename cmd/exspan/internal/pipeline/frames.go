package pipeline

import (
	"context"
	"errors"
	"io"

	"github.com/exspan/exspan/capture"
)

// Frames calls each for every frame of the files named in o, in the order of time,
// and returns how many there were. The frame is valid during the call. An error of
// each ends the run, and is returned as an Error; what keeps the input from being
// read in full is in the result.
func (o *Options) Frames(ctx context.Context, s Streams, each func(*capture.RawFrame) error) (frames uint64, _ *Result, err error) {
	opt := o.Capture()
	opt.Frames, opt.Stdin = true, s.Stdin
	show := NewProgress(s.Progress)
	if show != nil {
		opt.Progress = show.read
	}
	src, err := capture.OpenFiles(o.Files, opt)
	if err != nil {
		return 0, nil, err
	}
	if show != nil {
		show.files = src.Ended
	}
	defer show.Clear()
	stop := context.AfterFunc(ctx, func() { _ = src.Close() })
	defer func() {
		if stop() {
			_ = src.Close()
		}
	}()
	var f capture.RawFrame
	for ctx.Err() == nil {
		if err := src.NextFrame(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return frames, nil, Error{err}
		}
		if err := each(&f); err != nil {
			return frames, nil, Error{err}
		}
		frames++
	}
	r := &Result{Damage: src.Errors(), Notes: notes(src.Traces())}
	if ctx.Err() != nil {
		r.Damage = append(r.Damage, errors.New("interrupted; what was read until then is written"))
	}
	return frames, r, nil
}

// notes returns what traces say of their own completeness, with their names.
func notes(traces []*capture.Trace) []string {
	var list []string
	for _, t := range traces {
		for _, n := range t.Notes {
			list = append(list, t.File+": "+n)
		}
	}
	return list
}
