package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/exporter/flows"
	"github.com/exspan/exspan/exporter/live"
	"github.com/exspan/exspan/exporter/ndjson"
)

// The forms in which observe writes flows.
var observeFormats = []string{"flows", "ndjson"}

// recordSource is where observe takes records from.
type recordSource struct {
	name string
	// open returns the records, as lines of NDJSON: those that are kept, and with follow
	// those that come until ctx ends. The query, in the words of queryCriteria, is what is
	// wanted; a source may send more.
	open func(ctx context.Context, follow bool, query url.Values) (io.ReadCloser, error)
}

// observation holds the flags of the command observe.
type observation struct {
	pipeline.Options
	server  string
	hub     sharing // in place of server
	realm   string
	follow  bool
	format  string
	look    look
	filters filterFlags
	client  httpFlags
}

func newObserveCmd() *cobra.Command {
	o := &observation{}
	cmd := &cobra.Command{
		Use:   "observe [flags]",
		Short: "Print the flows of a running monitor",
		Long: `Print the last flows that a running "exspan monitor" keeps, and with --follow those
that end from now on, in the form of analyze --format flows. A flow is printed when it
has ended and its verdict is final. Unrelated flows are not kept, but followed.

Records hold addresses and names, so a monitor gives them to programs on its own machine,
or with a password: --web.config.file of monitor, and --username and --password-file here.

With --hub and --follow, it prints the flows that are unexpected or deviating of all
sensors that share, and tells on standard error which sensors there are, which lose
packets, and which fall silent. When the connection breaks it connects again, and
tells from when to when records are missing, and how many a sensor could not send.

Exit codes: 0 done, 1 the monitor cannot be reached or the connection broke, 2 a
mistake in flags.`,
		Example: `  exspan observe --status unexpected
  exspan observe --follow --status deviating,unexpected
  exspan observe --follow --format ndjson --path '2010.cas.*' --server https://sensor:10135 --username admin --password-file password
  exspan observe --follow --hub tls://hub:4222 --hub-credentials viewer.nk --hub-ca hub.crt`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			source, err := o.source()
			if o.hub.url != "" {
				source, err = o.hubSource(cmd.Flags().Changed("server"), cmd.ErrOrStderr())
			}
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), source, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "print flows as they end, until interrupted")
	f.StringVar(&o.server, "server", "http://"+listenAddress, "`URL` of the monitor")
	f.StringVar(&o.hub.url, "hub", "", "`URL` of the hub or NATS server of monitor --share, instead of a monitor: flows that are unexpected or deviating, of all sensors")
	f.StringVar(&o.hub.credentials, "hub-credentials", "", "`FILE` with the key of a viewer, from \"exspan-hub user add --viewer\", or with NATS credentials")
	f.StringVar(&o.hub.ca, "hub-ca", "", "`FILE` with the certificates that sign the hub's")
	f.StringVar(&o.realm, "realm", "default", "`NAME` of the network whose sensors are meant (with --hub)")
	f.StringVar(&o.format, "format", "flows", "what to write: `FORMAT` is "+orList(observeFormats))
	o.look.flags(f)
	o.filters.flags(cmd)
	o.client.flags(f)
	f.StringArrayVar(&o.Rules, "rules", nil, "`FILE` of rules that the monitor has besides the built-in ones, for the names of paths (repeatable)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(observeFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// check returns all mistakes in the flags.
func (o *observation) check() error {
	return errors.Join(append(o.filters.check(), checkWords("format", []string{o.format}, observeFormats), o.look.check())...)
}

// source returns the monitor that --server names.
func (o *observation) source() (*recordSource, error) {
	u, err := monitorURL(o.server)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	client, err := o.client.newClient("exspan observe")
	if err != nil {
		return nil, err
	}
	return monitorSource(client, u), nil
}

// monitorSource returns the records of the monitor at u.
func monitorSource(client *http.Client, u *url.URL) *recordSource {
	return &recordSource{name: u.Redacted(), open: func(ctx context.Context, follow bool, query url.Values) (io.ReadCloser, error) {
		if follow {
			query["follow"] = []string{"true"}
		}
		at := *u
		at.Path, at.RawQuery = strings.TrimSuffix(u.Path, "/")+live.RecordsPath, query.Encode()
		resp, err := get(ctx, client, at.String(), "application/x-ndjson")
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/x-ndjson") {
			return resp.Body, nil
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK, http.StatusNotFound:
			return nil, errors.New("this monitor serves no records; it is of another version, or no monitor")
		case http.StatusUnauthorized:
			return nil, fmt.Errorf("%s; --username and --password-file give name and password", resp.Status)
		case http.StatusForbidden:
			return nil, errors.New("the monitor gives records, which hold addresses and names, only to programs on its own machine or with a password; " +
				"basic_auth_users in its --web.config.file set one, and --username and --password-file give it")
		}
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}}
}

// settle is how long no record may come until those that came are printed: the first of
// them determine the widths of the columns.
const settle = 200 * time.Millisecond

// run prints what the source has.
func (o *observation) run(ctx context.Context, source *recordSource, stdout, stderr io.Writer) error {
	cfg, err := o.Config()
	if err != nil {
		return err
	}
	in, err := source.open(ctx, o.follow, o.filters.query())
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return pipeline.Error{Err: fmt.Errorf("%s: %w", source.name, err)}
	}
	defer in.Close()
	// What is printed at once is written at once.
	out := bufio.NewWriterSize(stdout, 1<<16)
	text := flows.New(out, flows.Options{Width: o.look.columns(stdout), Color: o.look.colored(stdout), GroupName: cfg.Packs.GroupName, Follow: o.follow,
		Sensors: o.hub.url != ""})
	var mu sync.Mutex // of the writers, which the timer uses, too
	var failed error
	note := func(errs ...error) {
		if failed == nil {
			failed = errors.Join(errs...)
		}
	}
	timer := time.AfterFunc(time.Hour, func() {
		mu.Lock()
		defer mu.Unlock()
		note(text.Flush(), out.Flush())
		if failed != nil {
			_ = in.Close()
		}
	})
	defer timer.Stop()
	reader := ndjson.NewReader(in, cfg.Packs)
	for {
		r, err := reader.Read()
		mu.Lock()
		if err != nil {
			note(text.Close(nil), out.Flush())
			err = o.ended(ctx, source, err, failed, stderr)
			mu.Unlock()
			return err
		}
		if o.filters.criteria.Match(r) {
			note(o.print(text, out, reader.Line(), r))
		}
		mu.Unlock()
		timer.Reset(settle)
	}
}

func (o *observation) print(text *flows.Sink, out io.Writer, line []byte, r *record.Record) error {
	if o.format != "ndjson" {
		return text.Write(r)
	}
	_, err := fmt.Fprintf(out, "%s\n", line)
	return err
}

// ended returns what the end of reading means. failed is what went wrong with writing.
func (o *observation) ended(ctx context.Context, source *recordSource, err, failed error, stderr io.Writer) error {
	switch {
	case failed != nil:
		return pipeline.Error{Err: failed}
	case ctx.Err() != nil || errors.Is(err, io.EOF) && !o.follow:
		return nil
	case errors.Is(err, io.EOF):
		printLines(stderr, source.name+" has ended")
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the connection broke; a monitor breaks it when records are not read as fast as they come")
	}
	return pipeline.Error{Err: fmt.Errorf("%s: %w", source.name, err)}
}
