package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/capture"
	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/explain"
	"github.com/exspan/exspan/exporter/filter"
)

func newExplainCmd() *cobra.Command {
	v := &viewFlags{}
	flow := ""
	cmd := &cobra.Command{
		Use:   "explain [flags] FILE... [COMMUNITY-ID]",
		Short: "Explain why flows got their verdicts",
		Long: `Explain why a flow got its verdict: what was read of it and in which packet, the
rows of the port reference that it could follow and what speaks for and against
each, the roles of its ends with their evidence, and a display filter by which
Wireshark shows its frames.

A flow is named by its Community ID, which --format ndjson and csv write, or by
its two ends. The flags that choose flows for analyze choose them here too; the
first ten are explained.`,
		Example: `  exspan explain trace.pcapng --status unexpected
  exspan explain trace.pcapng 1:8yIB5vD/wXOrTazjXtfABuzYEwo=
  exspan explain --site site.yaml trace.pcapng --flow 10.0.0.9:1051,10.0.0.5:46861`,
		Args: cobra.ArbitraryArgs,
	}
	v.flags(cmd, nil)
	var filters filterFlags
	filters.flags(cmd)
	cmd.Flags().StringVar(&flow, "flow", "", "the flow between two `ENDS`, such as 10.0.0.9:1051,10.0.0.5:143")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := errors.Join(append(filters.check(), v.check(nil))...); err != nil {
			return err
		}
		v.Args(cmd, args)
		want, err := v.wanted(flow, &filters)
		if err != nil {
			return err
		}
		return v.explain(cmd, want)
	}
	return cmd
}

// wantedFlow names a flow by its Community ID or its ends, or flows by what they have
// in common.
type wantedFlow struct {
	id     string
	ends   [2]netip.AddrPort
	chosen *filter.Criteria
}

func (w *wantedFlow) is(r *record.Record) bool {
	if w.chosen != nil && !w.chosen.Match(r) {
		return false
	}
	if w.id != "" {
		return r.CommunityID() == w.id
	}
	if !w.ends[0].IsValid() {
		return true
	}
	a, b := netip.AddrPortFrom(r.Client.Addr.Unmap(), r.Client.Port), netip.AddrPortFrom(r.Server.Addr.Unmap(), r.Server.Port)
	return a == w.ends[0] && b == w.ends[1] || a == w.ends[1] && b == w.ends[0]
}

func (w *wantedFlow) String() string {
	switch {
	case w.id != "":
		return "is " + w.id
	case w.ends[0].IsValid():
		return "is between " + w.ends[0].String() + " and " + w.ends[1].String()
	}
	return "matches"
}

// wanted takes the flow that is asked for from the flags or the last argument.
func (v *viewFlags) wanted(flow string, filters *filterFlags) (*wantedFlow, error) {
	w := &wantedFlow{}
	if filters.any() {
		w.chosen = &filters.criteria
	}
	if flow != "" {
		a, b, ok := strings.Cut(flow, ",")
		var errs [2]error
		w.ends[0], errs[0] = netip.ParseAddrPort(strings.TrimSpace(a))
		w.ends[1], errs[1] = netip.ParseAddrPort(strings.TrimSpace(b))
		if !ok || errs[0] != nil || errs[1] != nil {
			return nil, fmt.Errorf("--flow: %q are no two ends; they are written as 10.0.0.9:1051,10.0.0.5:143 or [2001:db8::9]:1051,[2001:db8::5]:143", flow)
		}
		for i := range w.ends {
			w.ends[i] = netip.AddrPortFrom(w.ends[i].Addr().Unmap(), w.ends[i].Port())
		}
		return w, nil
	}
	i := slices.IndexFunc(v.Files, func(f string) bool { return strings.HasPrefix(f, "1:") })
	if i < 0 && w.chosen != nil {
		return w, nil
	}
	if i < 0 {
		return nil, errors.New("which flow? Choose some with --status unexpected, --finding, --host and the like, or give a Community ID, " +
			"as analyze --format ndjson writes it, or --flow A:PORT,B:PORT")
	}
	w.id = v.Files[i]
	v.Files = slices.Delete(slices.Clone(v.Files), i, i+1)
	return w, nil
}

// maxExplained is how many flows are explained at most.
const maxExplained = 10

// explain runs the engine, then reads the packets of the flow again.
func (v *viewFlags) explain(cmd *cobra.Command, want *wantedFlow) error {
	var flows []*explain.Flow
	var sum record.Summary
	more := 0
	collect := &collectSink{write: func(r *record.Record) {
		if r.State == "active" || !want.is(r) {
			return
		}
		if len(flows) == maxExplained {
			more++
			return
		}
		f := explain.NewFlow(r)
		f.KeyVLAN = v.KeyVLAN
		flows = append(flows, f)
	}, sum: &sum}
	var cfg classify.Config
	result, err := v.ViewFiles(cmd, func(c *classify.Config) record.Sink {
		c.Explain = func(r *record.Record) func([]record.Candidate) {
			if len(flows) == 0 || flows[len(flows)-1].Record.Number != r.Number {
				return nil
			}
			f := flows[len(flows)-1]
			return func(list []record.Candidate) { f.Candidates = list }
		}
		cfg = *c
		return collect
	})
	if err != nil {
		return err
	}
	if len(flows) == 0 {
		if err := result.Err(); err != nil {
			return err
		}
		return fmt.Errorf("no flow of %s %s; exspan analyze --format flows lists them", v.Title(), want)
	}
	if !result.Records {
		if err := v.trace(cmd.Context(), cfg, flows); err != nil && !slices.Contains(v.Files, "-") {
			return pipeline.Error{Err: err}
		}
	}
	stdout := cmd.OutOrStdout()
	err = explain.Write(stdout, flows, &sum, explain.Options{JSON: v.format == "json", Width: v.look.columns(stdout), Color: v.look.colored(stdout),
		Site: cfg.Site, GroupName: cfg.Packs.GroupName, Records: result.Records})
	if err != nil {
		return pipeline.Error{Err: err}
	}
	if more > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "exspan: the first %d of %d flows are explained\n", maxExplained, maxExplained+more)
	}
	return result.Err()
}

// collectSink hands records to a function and keeps the summary.
type collectSink struct {
	write func(*record.Record)
	sum   *record.Summary
}

func (c *collectSink) Write(r *record.Record) error {
	c.write(r)
	return nil
}

func (c *collectSink) Close(sum *record.Summary) error {
	*c.sum = *sum
	return nil
}

// trace reads the packets of flows again, one at a time, and notes in which frame
// each fact was read.
func (v *viewFlags) trace(ctx context.Context, cfg classify.Config, flows []*explain.Flow) error {
	opt := v.Capture()
	opt.Parallel = true
	src, err := capture.OpenFiles(v.Files, opt)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	number := uint64(0)
	cfg.Explain, cfg.Interim = nil, 1
	eng, err := classify.New(cfg, &collectSink{write: func(r *record.Record) {
		for _, f := range flows {
			f.Read(r, number)
		}
	}, sum: &record.Summary{}})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		b, err := src.Read()
		if errors.Is(err, io.EOF) {
			return eng.Close(nil)
		}
		if err != nil {
			return err
		}
		for i := range b.Packets {
			p := &b.Packets[i]
			wanted := false
			for _, f := range flows {
				wanted = f.Packet(p) || wanted
			}
			if !wanted {
				continue
			}
			one := capture.Batch{Packets: b.Packets[i : i+1], Stats: b.Stats, Tunnels: b.Tunnels}
			number = p.Number
			if err := eng.Batch(&one); err != nil {
				b.Release()
				return err
			}
		}
		b.Release()
	}
	return ctx.Err()
}
