package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/spf13/cobra"

	"github.com/exspan/exspan/cmd/exspan/internal/pipeline"
)

// top holds the flags of the command top.
type top struct {
	monitor
	url      string
	interval time.Duration
	once     bool
}

func newTopCmd() *cobra.Command {
	t := &top{}
	cmd := &cobra.Command{
		Use:   "top [flags] [URL | -i INTERFACE... [-- BPF-EXPRESSION]]",
		Short: "Show paths, rates and findings live in the terminal",
		Long: `Show data paths, rates and findings live, either those of a running "exspan
monitor", from its metrics at URL, or those of interfaces that top captures from
itself. Ctrl-C ends it.`,
		Example: `  exspan top
  exspan top http://sensor:10135/metrics
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
				return t.capture(cmd.Context(), cmd.OutOrStdout())
			}
			switch len(args) {
			case 0:
				t.url = "http://localhost" + listenAddress + "/metrics"
			case 1:
				t.url = args[0]
			default:
				return fmt.Errorf("unexpected argument %q", args[1])
			}
			if !strings.Contains(t.url, "://") {
				t.url = "http://" + t.url
			}
			if rest := t.url[strings.Index(t.url, "://")+3:]; !strings.Contains(rest, "/") {
				t.url += "/metrics"
			}
			return t.show(cmd.Context(), cmd.OutOrStdout(), t.scrape, nil)
		},
	}
	t.captureFlags(cmd)
	t.judgeFlags(cmd)
	f := cmd.Flags()
	f.DurationVar(&t.interval, "interval", 2*time.Second, "time between two pictures")
	f.BoolVar(&t.once, "once", false, "show one picture, with rates over one interval, and end")
	t.logLevel, t.logFormat, t.stateInterval, t.writeBuffer, t.queue = "info", "logfmt", time.Minute, 1<<20, 1<<20
	return cmd
}

// scrape reads the metrics of a running monitor.
func (t *top) scrape(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return sample{}, err
	}
	req.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sample{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return sample{}, fmt.Errorf("%s: %s", t.url, resp.Status)
	}
	decoder := expfmt.NewDecoder(io.LimitReader(resp.Body, 64<<20), expfmt.ResponseFormat(resp.Header))
	var families []*dto.MetricFamily
	for {
		f := new(dto.MetricFamily)
		if err := decoder.Decode(f); errors.Is(err, io.EOF) {
			return newSample(families), nil
		} else if err != nil {
			return sample{}, fmt.Errorf("%s: %w", t.url, err)
		}
		families = append(families, f)
	}
}

// capture captures from interfaces itself and shows what it finds.
func (t *top) capture(ctx context.Context, stdout io.Writer) error {
	var last lastLine
	w, err := t.start(nil, nil, t.logger(&last))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fed := make(chan error, 1)
	go func() {
		fed <- w.feed()
		cancel()
	}()
	err = t.show(ctx, stdout, func(context.Context) (sample, error) {
		families, err := w.registry.Gather()
		return newSample(families), err
	}, last.get)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// show draws a picture after each interval until ctx ends. message returns the
// last line of the screen; it may be nil.
func (t *top) show(ctx context.Context, stdout io.Writer, take func(context.Context) (sample, error), message func() string) error {
	before, err := take(ctx)
	if err != nil {
		return pipeline.Error{Err: err}
	}
	out := bufio.NewWriter(stdout)
	screen := pipeline.IsTerminal(stdout) && !t.once
	if screen {
		fmt.Fprint(out, "\x1b[?1049h\x1b[?25l") // alternate screen, cursor off
		defer func() {
			fmt.Fprint(out, "\x1b[?25h\x1b[?1049l")
			_ = out.Flush()
		}()
	}
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := take(ctx)
		width, height := 100, 0
		if w, h := pipeline.TerminalSize(stdout); screen && w > 0 {
			width, height = w, h
		}
		var lines []string
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !screen:
			return pipeline.Error{Err: err}
		case err != nil:
			lines = []string{"exspan top: " + err.Error()} // the monitor may come back
		default:
			lines = picture(before, now, height)
			before = now
		}
		if message != nil {
			lines = append(lines, "", message())
		}
		if screen {
			fmt.Fprint(out, "\x1b[H")
		}
		for i, l := range lines {
			if height > 0 && i >= height-1 {
				break
			}
			if r := []rune(l); screen && len(r) > width {
				l = string(r[:width])
			}
			out.WriteString(l)
			if screen {
				out.WriteString("\x1b[K")
			}
			out.WriteByte('\n')
		}
		if screen {
			fmt.Fprint(out, "\x1b[J")
		}
		if err := out.Flush(); err != nil {
			return pipeline.Error{Err: err}
		}
		if t.once {
			return nil
		}
	}
}

// sample holds the metrics at one time.
type sample struct {
	at     time.Time
	series map[string][]series // by name
}

type series struct {
	labels map[string]string
	value  float64
}

func newSample(families []*dto.MetricFamily) sample {
	s := sample{time.Now(), map[string][]series{}}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			v := series{labels: map[string]string{}}
			for _, l := range m.GetLabel() {
				v.labels[l.GetName()] = l.GetValue()
			}
			switch {
			case m.Counter != nil:
				v.value = m.GetCounter().GetValue()
			case m.Gauge != nil:
				v.value = m.GetGauge().GetValue()
			case m.Untyped != nil:
				v.value = m.GetUntyped().GetValue()
			case m.Histogram != nil:
				if n := m.GetHistogram().GetSampleCount(); n > 0 {
					v.value = m.GetHistogram().GetSampleSum() / float64(n) // the mean
				}
			}
			s.series[f.GetName()] = append(s.series[f.GetName()], v)
		}
	}
	return s
}

// sum adds the series of a metric that have all the labels given, as pairs of
// name and value.
func (s *sample) sum(name string, labels ...string) float64 {
	t := 0.0
next:
	for _, v := range s.series[name] {
		for i := 0; i+1 < len(labels); i += 2 {
			if v.labels[labels[i]] != labels[i+1] {
				continue next
			}
		}
		t += v.value
	}
	return t
}

// by sums a metric by the value of a label.
func (s *sample) by(name, label string) map[string]float64 {
	sums := map[string]float64{}
	for _, v := range s.series[name] {
		sums[v.labels[label]] += v.value
	}
	return sums
}

// pathRow is one data path in the picture.
type pathRow struct {
	path                string
	toServer, toClient  float64 // bytes a second
	packets             float64 // a second
	total, active       float64
	flows, deviating    float64
	setup, lastSeen     float64
	unanswered, refused float64
}

// picture draws the difference between two samples. It returns at most as many
// lines as fit into height; 0 means no limit.
func picture(before, now sample, height int) []string {
	seconds := now.at.Sub(before.at).Seconds()
	if seconds <= 0 {
		seconds = 1
	}
	rate := func(name string, labels ...string) float64 {
		return max(now.sum(name, labels...)-before.sum(name, labels...), 0) / seconds
	}
	version := ""
	for _, v := range now.series["exspan_build_info"] {
		version = " " + v.labels["version"]
	}
	lines := []string{
		fmt.Sprintf("exspan%s  %s  %s/s  %s packets/s  behind %.1f s  dropped %s (%s/s)", version, now.at.Format("15:04:05"),
			inBytes(rate("exspan_ip_bytes_total")), inCount(rate("exspan_ip_packets_total")), now.sum("exspan_capture_behind_seconds"),
			inCount(now.sum("exspan_capture_dropped_packets_total")), inCount(rate("exspan_capture_dropped_packets_total"))),
		fmt.Sprintf("flows: %s live, %s held, %s read   endpoints learned: %s   paths: %s seen, %s blocked, %s unseen",
			inCount(now.sum("exspan_flow_table_flows", "state", "live")), inCount(now.sum("exspan_flow_table_flows", "state", "held")),
			inCount(now.sum("exspan_flow_table_flows", "state", "reading")), inCount(now.sum("exspan_learned_endpoints")),
			inCount(now.sum("exspan_documented_paths", "state", "seen")), inCount(now.sum("exspan_documented_paths", "state", "blocked")),
			inCount(now.sum("exspan_documented_paths", "state", "unseen"))),
	}
	unexpected := now.by("exspan_unexpected_flows_total", "reason")
	text := fmt.Sprintf("unexpected flows: %s", inCount(now.sum("exspan_unexpected_flows_total")))
	for _, reason := range sorted(unexpected) {
		if unexpected[reason] > 0 {
			text += fmt.Sprintf("   %s %s", reason, inCount(unexpected[reason]))
		}
	}
	lines = append(lines, text, "")

	var rows []pathRow
	for path, total := range now.by("exspan_path_bytes_total", "path") {
		if total == 0 && now.sum("exspan_path_attempts_total", "path", path) == 0 {
			continue
		}
		rows = append(rows, pathRow{
			path: path, total: total,
			toServer:   rate("exspan_path_bytes_total", "path", path, "direction", "to_server"),
			toClient:   rate("exspan_path_bytes_total", "path", path, "direction", "to_client"),
			packets:    rate("exspan_path_packets_total", "path", path),
			active:     now.sum("exspan_path_active_flows", "path", path),
			flows:      now.sum("exspan_path_flows_total", "path", path),
			deviating:  now.sum("exspan_path_flows_total", "path", path, "status", "deviating"),
			setup:      now.sum("exspan_path_setup_seconds", "path", path),
			lastSeen:   now.sum("exspan_path_last_seen_timestamp_seconds", "path", path),
			unanswered: now.sum("exspan_path_attempts_total", "path", path, "outcome", "unanswered"),
			refused:    now.sum("exspan_path_attempts_total", "path", path, "outcome", "refused"),
		})
	}
	slices.SortFunc(rows, func(a, b pathRow) int {
		return cmp.Or(cmp.Compare(b.toServer+b.toClient, a.toServer+a.toClient), cmp.Compare(b.total, a.total), cmp.Compare(a.path, b.path))
	})
	findings := findingLines(&now)
	if fit := height - len(lines) - len(findings) - 4; height > 0 && len(rows) > max(fit, 5) {
		rows = rows[:max(fit, 5)]
	}
	width := len("PATH")
	for _, r := range rows {
		width = max(width, len(r.path))
	}
	lines = append(lines, fmt.Sprintf("%-*s %11s %11s %9s %9s %7s %7s %5s %7s %8s %9s", width, "PATH", "TO SERVER/s", "TO CLIENT/s", "PACKETS/s",
		"BYTES", "ACTIVE", "FLOWS", "DEV", "BLOCKED", "SETUP", "LAST SEEN"))
	for _, r := range rows {
		setup, last := "-", "-"
		if r.setup > 0 {
			setup = fmt.Sprintf("%.1f ms", r.setup*1e3)
		}
		if r.lastSeen > 0 {
			last = inAge(now.at.Sub(time.UnixMilli(int64(r.lastSeen * 1e3))))
		}
		lines = append(lines, fmt.Sprintf("%-*s %11s %11s %9s %9s %7s %7s %5s %7s %8s %9s", width, r.path, inBytes(r.toServer), inBytes(r.toClient),
			inCount(r.packets), inBytes(r.total), inCount(r.active), inCount(r.flows), inCount(r.deviating), inCount(r.unanswered+r.refused), setup, last))
	}
	return append(lines, findings...)
}

// findingLines returns the findings as lines, the most frequent first.
func findingLines(now *sample) []string {
	list := slices.Clone(now.series["exspan_path_findings_total"])
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b series) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.labels["path"], b.labels["path"]), cmp.Compare(a.labels["finding"], b.labels["finding"]))
	})
	lines := []string{"", fmt.Sprintf("%7s  %-26s %s", "FLOWS", "FINDING", "PATH")}
	for _, f := range list[:min(len(list), 8)] {
		lines = append(lines, fmt.Sprintf("%7s  %-26s %s", inCount(f.value), f.labels["finding"], f.labels["path"]))
	}
	return lines
}

func sorted(m map[string]float64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// inBytes formats a number of bytes in at most eight columns.
func inBytes(n float64) string {
	for _, u := range []string{"B", "kB", "MB", "GB"} {
		if n < 999.5 {
			if u == "B" {
				return fmt.Sprintf("%.0f B", n)
			}
			return fmt.Sprintf("%.3g %s", n, u)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3g TB", n)
}

// inCount formats a number in at most six columns.
func inCount(n float64) string {
	switch {
	case n == 0 || n >= 10 && n < 99_999.5 || n == float64(int64(n)) && n < 10:
		return fmt.Sprintf("%.0f", n)
	case n < 10:
		return fmt.Sprintf("%.1f", n)
	case n < 999_500:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n < 999_500_000:
		return fmt.Sprintf("%.3gM", n/1e6)
	}
	return fmt.Sprintf("%.3gG", n/1e9)
}

// inAge formats an age.
func inAge(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}
