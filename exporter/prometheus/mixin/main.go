// Command mixin writes the Grafana dashboard of exspan to standard output:
//
//	go run ./exporter/prometheus/mixin >exporter/prometheus/mixin/exspan-dashboard.json
//
// The rules and alerts beside it are written by hand.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func main() {
	out, err := render()
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A row is a line of the dashboard that can be folded.
type row struct {
	title  string
	panels []panel
}

// A panel shows queries. In queries @ stands for the labels that the variables
// of the dashboard choose, so that {@} and {@, path="none"} are selectors.
type panel struct {
	kind          string // stat, timeseries or table
	title, help   string
	unit          string // Grafana's id
	width, height int    // of 24 columns, in units of 30 pixels
	stack         bool
	bad           []float64 // thresholds of a stat: orange, red
	queries       []query
	columns       map[string]column // of a table, by the name of the field
}

// A query is a PromQL expression; legend is the name of its series.
type query struct{ expr, legend string }

type column struct {
	name, unit string
	order      int
}

const (
	bits     = "bps"
	seconds  = "s"
	ratio    = "percentunit"
	perSec   = "cps"
	packets  = "pps"
	number   = "short"
	ofBytes  = "bytes"
	fromNow  = "dateTimeFromNow"
	withPath = `@, path=~"$path"`
)

func stat(title, help, unit, expr string, bad ...float64) panel {
	return panel{kind: "stat", title: title, help: help, unit: unit, width: 3, height: 4, bad: bad, queries: []query{{expr, ""}}}
}

func graph(title, help, unit string, queries ...query) panel {
	return panel{kind: "timeseries", title: title, help: help, unit: unit, width: 12, height: 8, queries: queries}
}

func (p panel) stacked() panel        { p.stack = true; return p }
func (p panel) wide(width int) panel  { p.width = width; return p }
func (p panel) tall(height int) panel { p.height = height; return p }

// quantile is a quantile of a histogram over the labels by, and le.
func quantile(q, histogram, selector, by string) string {
	return fmt.Sprintf("histogram_quantile(%s, sum by (%s) (rate(%s_bucket{%s}[$__rate_interval])))", q, by, histogram, selector)
}

// rows returns the rows of the dashboard in the order in which Grafana shows
// them. It is one literal, so that the dashboard can be read from top to bottom.
func rows() []row {
	return []row{
		{"Overview", []panel{
			stat("Traffic", "IP bytes of all packets taken in, as bits per second.", bits,
				`sum(rate(exspan_ip_bytes_total{@}[$__rate_interval])) * 8`),
			stat("Live flows", "Flows in the table that have not ended.", number, `sum(exspan_flow_table_flows{@, state="live"})`),
			stat("Paths seen", "Documented data paths of which traffic was seen since the monitor began.", number,
				`max(exspan_documented_paths{@, state="seen"})`),
			stat("Blocked paths", "Documented data paths of which only attempts were seen: refused, rejected or not answered.", number,
				`max(exspan_documented_paths{@, state="blocked"})`, 1),
			stat("Unexpected flows", "Flows of Exchange servers that no documented data path explains, in the time shown.", number,
				`sum(increase(exspan_unexpected_flows_total{@}[$__range]))`, 1),
			stat("Deviating flows", "Flows that are not as documented, in the time shown.", number,
				`sum(increase(path:exspan_path_flows_deviating:total{`+withPath+`}[$__range]))`, 1),
			stat("Flows in clear", "Flows without the encryption that the documentation has by default, in the time shown.", number,
				`sum(increase(path:exspan_path_findings_cleartext:total{`+withPath+`}[$__range]))`, 1),
			stat("Packets lost", "Share of packets lost before they were read, of the worst interface.", ratio,
				`max(interface:exspan_capture_dropped_packets:ratio_rate5m{@})`, .001, .01),
		}},
		{"Fleet", []panel{
			{kind: "table", title: "Sensors", help: "One line for each monitor, with its rates of the last minutes.", width: 24, height: 7,
				queries: []query{
					{`sum by (instance) (rate(exspan_ip_bytes_total{@}[$__rate_interval])) * 8`, ""},
					{`sum by (instance) (rate(exspan_capture_packets_total{@}[$__rate_interval]))`, ""},
					{`max by (instance) (interface:exspan_capture_dropped_packets:ratio_rate5m{@})`, ""},
					{`max by (instance) (instance:exspan_tcp_missing_bytes:ratio_rate10m{@})`, ""},
					{`min by (instance) (exspan_capture_interface_up{@})`, ""},
					{`max by (instance) (exspan_capture_behind_seconds{@})`, ""},
					{`sum by (instance) (exspan_flow_table_flows{@, state="live"})`, ""},
					{`max by (instance) (exspan_config_last_reload_successful{@})`, ""},
					{`max by (instance, version) (exspan_build_info{@})`, ""},
				},
				columns: map[string]column{
					"instance": {"Sensor", "", 0},
					"version":  {"Version", "", 1},
					"Value #A": {"Traffic", bits, 2},
					"Value #B": {"Packets", packets, 3},
					"Value #C": {"Lost", ratio, 4},
					"Value #D": {"Missing", ratio, 5},
					"Value #E": {"Interfaces up", number, 6},
					"Value #F": {"Behind", seconds, 7},
					"Value #G": {"Live flows", number, 8},
					"Value #H": {"Reloaded", number, 9},
				}},
		}},
		{"Data paths", []panel{
			graph("Traffic by data path", "IP bytes by data path, as bits per second; none is traffic without a path.", bits,
				query{`sum by (path) (rate(exspan_path_bytes_total{` + withPath + `}[$__rate_interval])) * 8 > 0`, "{{path}}"}).stacked().tall(10),
			graph("Packets by direction", "", packets,
				query{`sum by (direction) (rate(exspan_path_packets_total{` + withPath + `}[$__rate_interval]))`, "{{direction}}"}).wide(6).tall(10),
			graph("Traffic without a path", "Share of bytes that belong to no documented data path.", ratio,
				query{`sum(rate(exspan_path_bytes_total{@, path="none"}[$__rate_interval])) / ` +
					`sum(rate(exspan_path_bytes_total{@}[$__rate_interval]))`, "without a path"}).wide(6).tall(10),
			{kind: "table", title: "Data paths", help: "What was seen of each data path in the time shown.", width: 24, height: 11,
				queries: []query{
					{`sum by (path) (increase(exspan_path_bytes_total{` + withPath + `}[$__range])) > 0`, ""},
					{`sum by (path) (increase(exspan_path_flows_total{` + withPath + `, status="expected"}[$__range])) > 0`, ""},
					{`sum by (path) (increase(path:exspan_path_flows_deviating:total{` + withPath + `}[$__range])) > 0`, ""},
					{`sum by (path) (increase(path:exspan_path_findings_cleartext:total{` + withPath + `}[$__range])) > 0`, ""},
					{`sum by (path) (increase(path:exspan_path_attempts_blocked:total{` + withPath + `}[$__range])) > 0`, ""},
					{`sum by (path) (exspan_path_active_flows{` + withPath + `})`, ""},
					{`max by (path) (exspan_path_last_seen_timestamp_seconds{` + withPath + `}) * 1000`, ""},
				},
				columns: map[string]column{
					"path":     {"Data path", "", 0},
					"Value #A": {"Bytes", ofBytes, 1},
					"Value #B": {"Expected flows", number, 2},
					"Value #C": {"Deviating", number, 3},
					"Value #D": {"In clear", number, 4},
					"Value #E": {"Blocked attempts", number, 5},
					"Value #F": {"Live flows", number, 6},
					"Value #G": {"Last packet", fromNow, 7},
				}},
		}},
		{"Verdicts", []panel{
			graph("Flows by status", "Flows when their record became final.", perSec,
				query{`sum by (status) (rate(exspan_path_flows_total{` + withPath + `}[$__rate_interval]))`, "{{status}}"}).stacked(),
			graph("Unexpected flows by reason", "Flows of Exchange servers that no documented data path explains.", perSec,
				query{`sum by (reason) (rate(exspan_unexpected_flows_total{@}[$__rate_interval]))`, "{{reason}}"}).stacked(),
			graph("Deviating flows by data path", "In five minutes.", number,
				query{`sum by (path) (increase(path:exspan_path_flows_deviating:total{` + withPath + `}[5m])) > 0`, "{{path}}"}).stacked(),
			{kind: "table", title: "Findings", help: "Findings by data path in the time shown.", width: 12, height: 8,
				queries: []query{{`sum by (path, finding, level) (increase(exspan_path_findings_total{` + withPath + `}[$__range])) > 0`, ""}},
				columns: map[string]column{"path": {"Data path", "", 0}, "finding": {"Finding", "", 1}, "level": {"Level", "", 2}, "Value": {"Flows", number, 3}}},
		}},
		{"Connections", []panel{
			graph("Set-up time", "Time from SYN to SYN-ACK on the data paths chosen.", seconds,
				query{quantile("0.50", "exspan_path_setup_seconds", withPath, "le"), "p50"},
				query{quantile("0.95", "exspan_path_setup_seconds", withPath, "le"), "p95"},
				query{quantile("0.99", "exspan_path_setup_seconds", withPath, "le"), "p99"}),
			graph("Set-up time by data path (p95)", "Time from SYN to SYN-ACK that 95 of 100 connections keep to.", seconds,
				query{`max by (path) (path:exspan_path_setup_seconds:p95_rate5m{` + withPath + `})`, "{{path}}"}),
			graph("Attempts by outcome", "What became of connections and requests.", perSec,
				query{`sum by (outcome) (rate(exspan_path_attempts_total{` + withPath + `}[$__rate_interval]))`, "{{outcome}}"}).stacked(),
			graph("Blocked attempts by data path", "Attempts that were refused, rejected or not answered, in five minutes.", number,
				query{`sum by (path) (increase(path:exspan_path_attempts_blocked:total{` + withPath + `}[5m])) > 0`, "{{path}}"}).stacked(),
		}},
		{"Authentication and encryption", []panel{
			graph("Authentication", "Flows by observed authentication.", perSec,
				query{`sum by (mechanism) (rate(exspan_path_authentication_flows_total{` + withPath + `}[$__rate_interval]))`,
					"{{mechanism}}"}).stacked(),
			graph("Encryption", "Flows by observed encryption.", perSec,
				query{`sum by (encryption) (rate(exspan_path_encryption_flows_total{` + withPath + `}[$__rate_interval]))`,
					"{{encryption}}"}).stacked(),
			{kind: "table", title: "Authentication that is not documented", help: "Flows in the time shown.", width: 12, height: 8,
				queries: []query{{`sum by (path, mechanism) (increase(exspan_path_authentication_flows_total{` + withPath + `, documented="no"}[$__range])) > 0`, ""}},
				columns: map[string]column{"path": {"Data path", "", 0}, "mechanism": {"Authentication", "", 1}, "Value": {"Flows", number, 2}}},
			{kind: "table", title: "Encryption that is not documented", help: "Flows in the time shown.", width: 12, height: 8,
				queries: []query{{`sum by (path, encryption) (increase(exspan_path_encryption_flows_total{` + withPath + `, documented="no"}[$__range])) > 0`, ""}},
				columns: map[string]column{"path": {"Data path", "", 0}, "encryption": {"Encryption", "", 1}, "Value": {"Flows", number, 2}}},
		}},
		{"Learned endpoints", []panel{
			graph("Endpoints by service", "Dynamic ports that were announced or seen in use, and hold now.", number,
				query{`sum by (service) (exspan_learned_endpoints{@})`, "{{service}}"}).stacked(),
			graph("Endpoints by source", "How they were learned.", number,
				query{`sum by (source) (exspan_learned_endpoints{@})`, "{{source}}"}).stacked().wide(6),
			graph("Flows named late", "Flows whose record names a path after their traffic was counted under another.", perSec,
				query{`sum by (path) (rate(exspan_relabelled_flows_total{` + withPath + `}[$__rate_interval])) > 0`, "{{path}}"}).stacked().wide(6),
		}},
		{"Calls", []panel{
			graph("Packets of media streams", "RTP packets by what became of them, as share of those expected.", ratio,
				query{`sum by (kind) (rate(exspan_rtp_packets_total{@, kind!="expected"}[$__rate_interval]))` +
					` / on () group_left () sum(rate(exspan_rtp_packets_total{@, kind="expected"}[$__rate_interval]))`, "{{kind}}"}).wide(8),
			graph("Jitter", "Mean interarrival jitter of RTP streams that ended.", seconds,
				query{quantile("0.50", "exspan_rtp_jitter_seconds", "@", "le"), "p50"},
				query{quantile("0.95", "exspan_rtp_jitter_seconds", "@", "le"), "p95"}).wide(8),
			graph("Mean opinion score", "Estimated for RTP streams that ended; p05 is that of the worst of twenty.", number,
				query{quantile("0.50", "exspan_rtp_mos", "@", "le"), "p50"},
				query{quantile("0.05", "exspan_rtp_mos", "@", "le"), "p05"}).wide(8),
		}},
		{"Capture", []panel{
			graph("Packets by interface", "Packets that the interface delivered.", packets,
				query{`sum by (instance, interface) (rate(exspan_capture_packets_total{@}[$__rate_interval]))`, "{{instance}} {{interface}}"}),
			graph("Packets lost", "By the kernel (exspan is slow, or its buffer small) or the interface.", packets,
				query{`sum by (instance, interface, reason) (rate(exspan_capture_dropped_packets_total{@}[$__rate_interval]))`,
					"{{instance}} {{interface}} {{reason}}"}),
			graph("Behind", "Age of the packets that are worked on.", seconds,
				query{`max by (instance) (exspan_capture_behind_seconds{@})`, "{{instance}}"}).wide(8),
			graph("Flow table", "Flows by state.", number, query{`sum by (state) (exspan_flow_table_flows{@})`, "{{state}}"}).wide(8),
			graph("Pending", "Bytes of live flows that are not counted under a data path yet.", ofBytes,
				query{`sum by (instance) (exspan_pending_bytes{@})`, "{{instance}}"}).wide(8),
			graph("Frames skipped", "Frames that became no packet, by reason, and packets cut by the snap length.", packets,
				query{`sum by (reason) (rate(exspan_capture_skipped_frames_total{@}[$__rate_interval]))`, "{{reason}}"},
				query{`sum(rate(exspan_capture_truncated_packets_total{@}[$__rate_interval]))`, "truncated"}).wide(8),
			graph("Limits reached", "What was refused or dropped because of a limit.", perSec,
				query{`sum by (instance, limit) (rate(exspan_limit_reached_total{@}[$__rate_interval])) > 0`, "{{instance}} {{limit}}"}).wide(8),
			graph("Flows given up by their reader", "Content that was not of the protocol it looked like.", perSec,
				query{`sum by (instance) (rate(exspan_observer_errors_total{@}[$__rate_interval]))`, "{{instance}}"}).wide(8),
			graph("Duplicates", "Packets left out because they are copies that a mirror port made.", packets,
				query{`sum by (instance) (rate(exspan_capture_duplicate_packets_total{@}[$__rate_interval]))`, "{{instance}}"}).wide(6),
			graph("One direction only", "Share of TCP connections of which one direction was captured.", ratio,
				query{`max by (instance) (exspan_capture_one_way_connections_ratio{@})`, "{{instance}}"}).wide(6),
			graph("Bytes missing", "TCP bytes that were not there when later ones came, without those that came late.", ofBytes,
				query{`sum by (instance) (rate(exspan_tcp_missing_bytes_total{@}[$__rate_interval])) - sum by (instance) (rate(exspan_tcp_late_bytes_total{@}[$__rate_interval]))`, "{{instance}}"}).wide(6),
			graph("Records lost", "Records or packets that an output lost, because it was full, closed or slow.", perSec,
				query{`sum by (instance, output) (rate(exspan_output_lost_total{@}[$__rate_interval]))`, "{{instance}} {{output}}"}).wide(6),
			graph("Processors", "How many the monitor keeps busy.", number,
				query{`sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval]))`, "{{instance}}"}).wide(6),
			graph("Memory", "Resident memory of the monitor.", ofBytes,
				query{`sum by (instance) (process_resident_memory_bytes{@})`, "{{instance}}"}).wide(6),
		}},
	}
}

type object = map[string]any

var datasource = object{"type": "prometheus", "uid": "${datasource}"}

func render() ([]byte, error) {
	var panels []any
	id, y := 0, 0
	place := func(p object, x, w, h int) {
		id++
		p["id"] = id
		p["gridPos"] = object{"x": x, "y": y, "w": w, "h": h}
		panels = append(panels, p)
	}
	for _, r := range rows() {
		place(object{"type": "row", "title": r.title, "collapsed": false, "panels": []any{}}, 0, 24, 1)
		y++
		x, h := 0, 0
		for _, p := range r.panels {
			if x+p.width > 24 {
				x, y, h = 0, y+h, 0
			}
			place(p.object(), x, p.width, p.height)
			x += p.width
			h = max(h, p.height)
		}
		y += h
	}
	variable := func(name, label, q string) object {
		return object{"name": name, "label": label, "type": "query", "datasource": datasource, "refresh": 2, "sort": 1, "hide": 0,
			"query": object{"query": q, "refId": "StandardVariableQuery"}, "definition": q,
			"includeAll": true, "multi": true, "allValue": ".+", "current": object{"text": "All", "value": "$__all"}, "options": []any{}}
	}
	dashboard := object{
		"uid": "exspan", "title": "Exchange data paths", "description": "What exspan monitor sees of Microsoft Exchange.",
		"tags":          []string{"exspan", "exchange"},
		"schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "browser", "refresh": "1m",
		"time": object{"from": "now-6h", "to": "now"}, "links": []any{}, "panels": panels,
		"annotations": object{"list": []any{object{"name": "Alerts", "datasource": datasource, "enable": true, "hide": false, "iconColor": "red",
			"expr": labelled(`ALERTS{@, alertname=~"Exspan.*", alertstate="firing"}`), "titleFormat": "{{alertname}}",
			"textFormat": "{{path}}{{reason}}{{interface}}", "tagKeys": "severity", "useValueForTime": false, "step": "60s"}}},
		"templating": object{"list": []any{
			object{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1,
				"includeAll": false, "multi": false, "current": object{}, "options": []any{}},
			variable("job", "Job", `label_values(exspan_ip_packets_total, job)`),
			variable("instance", "Instance", `label_values(exspan_ip_packets_total{job=~"$job"}, instance)`),
			variable("path", "Data path", `label_values(exspan_path_last_seen_timestamp_seconds{job=~"$job", instance=~"$instance"}, path)`),
		}},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(dashboard)
	return b.Bytes(), err
}

func labelled(expr string) string {
	return strings.NewReplacer("{@", `{job=~"$job", instance=~"$instance"`).Replace(expr)
}

func (p *panel) object() object {
	thresholds := []any{object{"color": "green", "value": nil}}
	for i, v := range p.bad {
		thresholds = append(thresholds, object{"color": []string{"orange", "red"}[i], "value": v})
	}
	defaults := object{"unit": p.unit, "min": 0, "color": object{"mode": "palette-classic"}}
	o := object{"type": p.kind, "title": p.title, "description": p.help, "datasource": datasource,
		"fieldConfig": object{"defaults": defaults, "overrides": []any{}}}
	var targets []any
	for i, q := range p.queries {
		t := object{"refId": string(rune('A' + i)), "datasource": datasource, "expr": labelled(q.expr), "legendFormat": q.legend, "range": true}
		if p.kind != "timeseries" {
			delete(t, "range")
			t["instant"] = true
		}
		if p.kind == "table" {
			t["format"] = "table"
		}
		targets = append(targets, t)
	}
	o["targets"] = targets
	switch p.kind {
	case "stat":
		delete(defaults, "min")
		defaults["decimals"] = 0
		if p.unit == ratio || p.unit == bits {
			defaults["decimals"] = 2
		}
		defaults["noValue"] = "0"
		defaults["color"] = object{"mode": "thresholds"}
		defaults["thresholds"] = object{"mode": "absolute", "steps": thresholds}
		o["options"] = object{"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}}
	case "timeseries":
		custom := object{"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 10,
			"showPoints": "never", "spanNulls": false}
		if p.stack {
			custom["fillOpacity"] = 60
			custom["stacking"] = object{"mode": "normal", "group": "A"}
		}
		defaults["custom"] = custom
		o["options"] = object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "multi", "sort": "desc"}}
	case "table":
		defaults["custom"] = object{"align": "auto", "filterable": true}
		delete(defaults, "min")
		delete(defaults, "unit")
		defaults["color"] = object{"mode": "fixed"}
		names, order := object{}, object{}
		var overrides []any
		for field, c := range p.columns {
			names[field], order[field] = c.name, c.order
		}
		// In the order of the columns, so that the file is always the same.
		for i := range len(p.columns) {
			for _, c := range p.columns {
				if c.order == i && c.unit != "" {
					overrides = append(overrides, object{"matcher": object{"id": "byName", "options": c.name},
						"properties": []any{object{"id": "unit", "value": c.unit}, object{"id": "decimals", "value": 0}}})
				}
			}
		}
		o["fieldConfig"].(object)["overrides"] = overrides
		transformations := []any{object{"id": "organize", "options": object{"renameByName": names, "indexByName": order,
			"excludeByName": object{"Time": true}}}}
		if len(p.queries) > 1 {
			transformations = append([]any{object{"id": "merge", "options": object{}}}, transformations...)
		}
		o["transformations"] = transformations
		o["options"] = object{"showHeader": true, "cellHeight": "sm", "footer": object{"show": false},
			"sortBy": []any{object{"displayName": p.columns[p.sortField()].name, "desc": true}}}
	}
	return o
}

// sortField is the field of a table's first number.
func (p *panel) sortField() string {
	if len(p.queries) > 1 {
		return "Value #A"
	}
	return "Value"
}
