package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
	"github.com/exspan/exspan/cmd/exspan/internal/screen"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/live"
	"github.com/exspan/exspan/exporter/recent"
)

// top holds the flags of the command top.
type top struct {
	monitor
	interval time.Duration
	once     bool
	client   httpFlags

	sensors []*sensor
	name    func(label string) string // of a path or group, or ""
	last    *lastLine                 // of the log; nil for remote sensors
}

// httpFlags say how to reach monitors.
type httpFlags struct {
	config, username, passwordFile, caFile string
	insecure                               bool
}

func newTopCmd() *cobra.Command {
	t := &top{}
	cmd := &cobra.Command{
		Use:   "top [flags] [URL... | -i INTERFACE... [-- BPF-EXPRESSION]]",
		Short: "Show paths, rates and findings live in the terminal",
		Long: `Show data paths, rates and findings live, either those of running "exspan
monitor"s, from their metrics at URLs, or those of interfaces that top captures
from itself. The key ? lists the keys: q quits, enter shows the flows of a path.

Flows of a running monitor are shown if it was started with --web.enable-flows.
For a monitor with --share, top lists the sensors it shares with, those that are
silent or lose packets first. From another machine that takes a password.
On a dumb terminal, and where standard output is none, top prints one picture
after the other.`,
		Example: `  exspan top
  exspan top http://sensor1:10135 http://sensor2:10135
  exspan top https://sensor:10135 --ca-file ca.pem --username admin --password-file password
  exspan top -i eth1 --site site.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if t.interval < 100*time.Millisecond {
				return fmt.Errorf("--interval: %s is less than 100ms", t.interval)
			}
			if len(t.interfaces) > 0 {
				if err := t.complete(cmd, args); err != nil {
					return err
				}
				return t.capture(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			}
			if cmd.ArgsLenAtDash() >= 0 {
				return errors.New("a BPF expression needs interfaces to capture from: -i INTERFACE")
			}
			if err := t.connect(args); err != nil {
				return err
			}
			return t.show(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	t.captureFlags(cmd)
	t.judgeFlags(cmd)
	f := cmd.Flags()
	f.DurationVar(&t.interval, "interval", 2*time.Second, "time between two pictures")
	f.BoolVar(&t.once, "once", false, "print one picture, with rates over one interval, and end")
	t.client.flags(f)
	t.logLevel, t.logFormat, t.stateInterval, t.writeBuffer, t.queue = "info", "logfmt", time.Minute, 1<<20, 1<<20
	return cmd
}

func (f *httpFlags) flags(set *pflag.FlagSet) {
	set.StringVar(&f.caFile, "ca-file", "", "`FILE` of certificates, in PEM, that the monitor's certificate is checked by")
	set.BoolVar(&f.insecure, "insecure", false, "do not check the monitor's certificate")
	set.StringVar(&f.username, "username", "", "`NAME` for basic authentication at the monitor")
	set.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the password for it")
	set.StringVar(&f.config, "http.config.file", "", "`FILE` of TLS and authentication settings for clients, in the format of Prometheus")
}

// newClient returns the HTTP client that the flags describe.
func (f *httpFlags) newClient(program string) (*http.Client, error) {
	c := config.DefaultHTTPClientConfig
	if f.config != "" {
		loaded, _, err := config.LoadHTTPConfigFile(f.config)
		if err != nil {
			return nil, fmt.Errorf("--http.config.file: %w", err)
		}
		c = *loaded
	}
	if (f.username == "") != (f.passwordFile == "") {
		return nil, errors.New("--username and --password-file go together")
	}
	if f.username != "" {
		c.BasicAuth = &config.BasicAuth{Username: f.username, PasswordFile: f.passwordFile}
	}
	for _, file := range []struct{ flag, name string }{{"--password-file", f.passwordFile}, {"--ca-file", f.caFile}} {
		if file.name == "" {
			continue
		}
		if _, err := os.Stat(file.name); err != nil {
			return nil, fmt.Errorf("%s: %w", file.flag, err)
		}
	}
	if f.caFile != "" {
		c.TLSConfig.CAFile = f.caFile
	}
	c.TLSConfig.InsecureSkipVerify = c.TLSConfig.InsecureSkipVerify || f.insecure
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return config.NewClientFromConfig(c, program)
}

// connect prepares the sensors at URLs.
func (t *top) connect(args []string) error {
	if len(args) == 0 {
		args = []string{"http://" + listenAddress}
	}
	client, err := t.client.newClient("exspan top")
	if err != nil {
		return err
	}
	cfg, err := t.Config()
	if err != nil {
		return err
	}
	t.name = pathNames(cfg.Packs)
	for _, a := range args {
		if st, err := os.Stat(a); err == nil && st.Mode().IsRegular() {
			return fmt.Errorf("%s is a file, and exspan top shows what is live; for files there is exspan analyze", a)
		}
		u, err := monitorURL(a)
		if err != nil {
			return err
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/metrics"
		}
		if slices.ContainsFunc(t.sensors, func(s *sensor) bool { return s.url == u.String() }) {
			return fmt.Errorf("%s is given twice", u.Redacted())
		}
		s := &sensor{name: u.Host, url: u.String()}
		s.take = func(ctx context.Context) (sample, error) { return scrape(ctx, client, s.url) }
		s.flows = func(ctx context.Context, label string) ([]recent.Flow, error) {
			return fetchFlows(ctx, client, u, label)
		}
		s.fleet = func(ctx context.Context) (*health.View, error) { return fetchFleet(ctx, client, u) }
		t.sensors = append(t.sensors, s)
	}
	return nil
}

// monitorURL returns the URL of a monitor, of which a may leave out the scheme.
func monitorURL(a string) (*url.URL, error) {
	if !strings.Contains(a, "://") {
		a = "http://" + a
	}
	u, err := url.Parse(a)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no URL of a monitor, such as http://sensor:10135", a)
	}
	return u, nil
}

// get asks a monitor.
func get(ctx context.Context, client *http.Client, at, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // who is shown the error knows the URL
	}
	return resp, err
}

// errNoFlows tells what to do about a monitor that serves no flows. It is shown as a
// paragraph.
//
//nolint:revive,staticcheck // so it has a capital letter and full stops
var errNoFlows = errors.New("This monitor does not serve flows, which hold addresses and names. Start it with --web.enable-flows to see them here; " +
	"its records, and exspan analyze --path, have them too.")

// fetchFlows reads the last flows of a path from the monitor whose metrics are at u.
func fetchFlows(ctx context.Context, client *http.Client, u *url.URL, label string) ([]recent.Flow, error) {
	var flows []recent.Flow
	err := fetchJSON(ctx, client, u, "/flows", url.Values{"path": {label}}, &flows, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusOK && !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			return errNoFlows
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return flows, nil
}

// fetchFleet reads how the sensors are that share with the monitor whose metrics are at u.
func fetchFleet(ctx context.Context, client *http.Client, u *url.URL) (*health.View, error) {
	v := new(health.View)
	err := fetchJSON(ctx, client, u, live.SensorsPath, nil, v, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusForbidden {
			return errors.New("the monitor names the sensors it shares with only to programs on its own machine or with a password")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	v.Check()
	return v, nil
}

// fetchJSON reads into to the JSON that the monitor whose metrics are at u serves at a path.
// refused returns an error for a response that needs words of its own.
func fetchJSON(ctx context.Context, client *http.Client, u *url.URL, path string, query url.Values, to any, refused func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at := *u
	at.Path = strings.TrimSuffix(u.Path, "/metrics") + path
	at.RawQuery = query.Encode()
	resp, err := get(ctx, client, at.String(), "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := refused(resp); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", at.Redacted(), resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(to); err != nil {
		return fmt.Errorf("%s: %w", at.Redacted(), err)
	}
	return nil
}

// capture captures from interfaces itself and shows what it finds.
func (t *top) capture(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	t.last, t.flows = &lastLine{}, true
	w, err := t.start(nil, nil, t.logger(t.last))
	if err != nil {
		return err
	}
	t.name = pathNames(w.packs)
	t.sensors = []*sensor{{
		name: strings.Join(t.interfaces, ", "),
		take: func(context.Context) (sample, error) {
			families, err := w.registry.Gather()
			return newSample(families), err
		},
		flows: func(_ context.Context, label string) ([]recent.Flow, error) { return w.recent.Flows(label), nil },
	}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fed := make(chan error, 1)
	go func() {
		fed <- w.feed()
		cancel()
	}()
	err = t.show(ctx, stdin, stdout)
	cancel()
	_ = w.src.Close()
	if ferr := <-fed; ferr != nil {
		err = errors.Join(err, pipeline.Error{Err: ferr})
	}
	return err
}

// lastLine keeps the last line written to it. The screen shows that line at the
// bottom.
type lastLine struct {
	mu   sync.Mutex
	text string
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = string(bytes.TrimSpace(p))
	return len(p), nil
}

func (l *lastLine) get() string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// show shows the sensors until the operator quits or ctx ends.
func (t *top) show(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	o := screen.Options{Interval: t.interval, Take: t.take, Flows: t.flowsOf}
	var err error
	if file, ok := stdin.(*os.File); ok && !t.once && pipeline.IsTerminal(stdout) && pipeline.IsTerminal(file) && os.Getenv("TERM") != "dumb" {
		err = screen.Run(ctx, stdin, stdout, o)
	} else {
		err = screen.Print(ctx, stdout, new(look).columns(stdout), t.once, o)
	}
	if err != nil {
		return pipeline.Error{Err: err}
	}
	return nil
}

// take asks all sensors at once. It is an error if none of them ever answered.
func (t *top) take(ctx context.Context) (screen.State, error) {
	var wait sync.WaitGroup
	for _, s := range t.sensors {
		wait.Go(func() { s.ask(ctx) })
	}
	wait.Wait()
	var errs []error
	for _, s := range t.sensors {
		if s.err != nil && s.now.series == nil {
			errs = append(errs, fmt.Errorf("cannot read the metrics of %s: %w", s.name, s.err))
		}
	}
	if len(errs) == len(t.sensors) {
		if t.last == nil {
			errs = append(errs, errors.New("exspan monitor serves metrics; exspan top -i INTERFACE captures itself"))
		}
		return screen.State{}, errors.Join(errs...)
	}
	state := newState(t.sensors, t.name)
	state.Message = t.last.get()
	return state, nil
}

// flowsOf returns the last flows of a path at all sensors: those that need attention
// first, then the newest first.
func (t *top) flowsOf(ctx context.Context, label string) ([]recent.Flow, error) {
	var all []recent.Flow
	var errs []error
	for _, s := range t.sensors {
		flows, err := s.flows(ctx, label)
		if err != nil && !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
			errs = append(errs, err)
		}
		all = append(all, flows...)
	}
	if len(t.sensors) > 1 {
		slices.SortStableFunc(all, func(a, b recent.Flow) int {
			rank := func(f *recent.Flow) int {
				if f.Attention() {
					return 0
				}
				return 1
			}
			return cmp.Or(cmp.Compare(rank(&a), rank(&b)), b.First.Compare(a.First))
		})
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, errors.Join(errs...)
}
