package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/exspan/exspan/classify"
	"github.com/exspan/exspan/classify/record"
	"github.com/exspan/exspan/exporter/filter"
	"github.com/exspan/exspan/exporter/health"
	"github.com/exspan/exspan/exporter/live"
	"github.com/exspan/exspan/exporter/report"
	"github.com/exspan/exspan/exporter/text"
)

// serves reports whether the monitor has a web address.
func (m *monitor) serves() bool {
	return m.systemdSocket || slices.ContainsFunc(m.listen, func(a string) bool { return a != "" })
}

// newLive returns the server of the live page.
func (w *watch) newLive(cfg *classify.Config) *live.Server {
	records := "FLOWS.ndjson" // what --ndjson would have written
	if w.m.ndjson != "" && w.m.ndjson != "-" {
		records = w.m.ndjson
	}
	var others func() *health.View
	if w.m.share.url != "" {
		others = func() *health.View { return w.share.Fleet() }
	}
	return live.New(live.Options{
		Report: report.Options{Packs: cfg.Packs, Format: report.HTML, Title: cmp.Or(w.m.sensor, strings.Join(w.m.interfaces, ", "), w.m.Title()),
			Version: w.m.Version(cfg), Assumed: siteVersion(&w.m.Options, cfg), Input: records, Diagram: drawDiagram(cfg.Site)},
		Summary: func() *record.Summary { return w.eng.Summary() }, Now: w.now, Pending: w.recent.Records, Fleet: others, Clock: time.Now,
		Criteria: queryCriteria, Fields: filterFields,
	})
}

// now says in lines what goes on.
func (w *watch) now() []string {
	s := w.eng.Snapshot()
	p := w.recent.Pending()
	waiting := 0
	for _, n := range p.Unexpected {
		waiting += n
	}
	for _, n := range p.Deviating {
		waiting += n
	}
	for _, n := range p.Blocked {
		waiting += n
	}
	line := fmt.Sprintf("Now: %s live, %s held until their verdict is final.", text.Count(uint64(s.LiveFlows), "flow"), text.Thousands(uint64(s.HeldFlows)))
	if waiting > 0 {
		line += fmt.Sprintf(" %s of them may need attention.", text.Thousands(uint64(waiting)))
	}
	lines := []string{line + " A flow counts when it has ended and its verdict is final."}
	var trouble []string
	if w.live != nil {
		for _, i := range w.live.Interfaces() {
			if !i.Up {
				trouble = append(trouble, i.Name+" is down")
			}
			if n := i.Kernel + i.Iface; n > 0 {
				trouble = append(trouble, text.Count(n, "packet")+" of "+i.Name+" lost before they were read")
			}
		}
	}
	if len(trouble) > 0 {
		lines = append(lines, "Capture: "+strings.Join(trouble, ", ")+".")
	}
	if w.share != nil {
		lines = append(lines, fleetLine(w.share.Fleet()))
	}
	return lines
}

// fleetLine says how the sensors are that share.
func fleetLine(v *health.View) string {
	line := fmt.Sprintf("Sensors: %d of %d of realm %s are heard", len(v.Sensors)-len(v.Names(health.NotHeard)), len(v.Sensors), v.Realm)
	for _, c := range []health.Condition{health.NotHeard, health.InterfaceDown, health.Losing} {
		if names := v.Names(c); len(names) > 0 {
			const most = 3
			if n := len(names) - most; n > 0 {
				names = append(names[:most], fmt.Sprintf("%d more", n))
			}
			line += "; " + string(c) + ": " + strings.Join(names, ", ")
		}
	}
	if !v.Connected {
		line += "; this sensor has no connection to the hub"
	}
	return line + "."
}

// byName returns what the flags that choose flows set, by their names, which are those of
// the parameters that do.
func (x *filterFlags) byName() map[string]*[]string {
	return map[string]*[]string{"status": &x.status, "reason": &x.reason, "finding": &x.finding, "path": &x.path, "host": &x.host, "role": &x.role, "port": &x.port}
}

// queryCriteria returns what the parameters of a query choose flows by. They have the
// names and the values of flags.
func queryCriteria(query url.Values) (*filter.Criteria, error) {
	var x filterFlags
	lists := x.byName()
	var errs []error
	for name, values := range query {
		list := lists[name]
		if list == nil {
			errs = append(errs, fmt.Errorf("unknown parameter %q; known are status, reason, finding, path, host, role and port", name))
			continue
		}
		for _, v := range values {
			for word := range strings.SplitSeq(v, ",") {
				if word = strings.TrimSpace(word); word != "" {
					*list = append(*list, word)
				}
			}
		}
	}
	if err := errors.Join(append(errs, x.check()...)...); err != nil {
		return nil, err
	}
	return &x.criteria, nil
}

// query returns the parameters for queryCriteria that stand for x.
func (x *filterFlags) query() url.Values {
	q := url.Values{}
	for name, list := range x.byName() {
		if len(*list) > 0 {
			q[name] = *list
		}
	}
	return q
}

// filterFields returns the form for queryCriteria, filled in.
func filterFields(query url.Values) []report.Field {
	fields := []report.Field{
		{Name: "status", Label: "Status", Words: statuses}, {Name: "finding", Label: "Finding", Words: findingWords()}, {Name: "reason", Label: "Reason", Words: reasonWords()},
		{Name: "role", Label: "Role", Words: roleWords()}, {Name: "path", Label: "Data path", Example: "2010.cas.*"}, {Name: "host", Label: "Host", Example: "10.0.0.0/8"},
		{Name: "port", Label: "Server port", Example: "25/tcp"},
	}
	for i := range fields {
		f := &fields[i]
		f.Value = strings.Join(query[f.Name], ",")
		if f.Words != nil && f.Value != "" && !slices.Contains(f.Words, f.Value) {
			f.Words = nil // several: they are edited as text
		}
	}
	return fields
}

// private returns a handler that serves next to those only who may see addresses: this
// machine, and who has authenticated as --web.config.file demands.
func (m *monitor) private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		live.Secure(rw.Header())
		switch {
		case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate":
			http.Error(rw, "The request comes from another origin.", http.StatusForbidden)
		case !isLocal(r) && !m.authenticated(r):
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
			rw.WriteHeader(http.StatusForbidden)
			_, _ = rw.Write(report.Notice("exspan monitor", "This page shows addresses and names of hosts, and is not for everyone.",
				"Open it on the machine that the monitor runs on: ssh -L 10135:localhost:10135 SENSOR, and then http://localhost:10135/live here.",
				"Or start the monitor with --web.config.file and basic_auth_users in that file; then it is served to those who log in. Use TLS in the same file, because the password is sent with each request.",
				"Metrics hold no addresses, and are served at /metrics all the same."))
		default:
			next.ServeHTTP(rw, r)
		}
	})
}

// isLocal reports whether a request comes from this machine, and was not passed on by a
// proxy.
func isLocal(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// authenticated reports whether r could only come here with a password or a certificate: the
// server refuses all others before. The file is read each time, as the server does.
func (m *monitor) authenticated(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	if m.webConfig == "" {
		return false
	}
	if _, _, ok := r.BasicAuth(); !ok {
		return false
	}
	data, err := os.ReadFile(m.webConfig)
	if err != nil {
		return false
	}
	var file struct {
		Users map[string]string `yaml:"basic_auth_users"`
	}
	return yaml.Unmarshal(data, &file) == nil && len(file.Users) > 0
}

// ofPath gathers the metrics that are of one data path.
type ofPath struct {
	from prom.Gatherer
	path string
}

// Gather implements prometheus.Gatherer.
func (g ofPath) Gather() ([]*dto.MetricFamily, error) {
	all, err := g.from.Gather()
	var list []*dto.MetricFamily
	for _, f := range all {
		f.Metric = slices.DeleteFunc(f.Metric, func(m *dto.Metric) bool {
			return !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == "path" && l.GetValue() == g.path })
		})
		if len(f.Metric) > 0 {
			list = append(list, f)
		}
	}
	return list, err
}
