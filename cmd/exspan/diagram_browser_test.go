package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestDiagramReaders opens a diagram with what people will open it with: Chromium for SVG,
// mxGraph, on which draw.io is built, and Mermaid. Names in it try to break out.
func TestDiagramReaders(t *testing.T) {
	site := hostileMailSite(t)
	args := func(format string) []string {
		return []string{"--site", site, "--format", format, testdata("mail.pcapng")}
	}
	var g drawnGraph
	if err := json.Unmarshal(diagramText(t, args("json")...), &g); err != nil {
		t.Fatal(err)
	}
	library := func(t *testing.T, name string) string {
		t.Helper()
		folder := os.Getenv("EXSPAN_NODE_MODULES")
		if folder == "" {
			t.Skip("EXSPAN_NODE_MODULES names no folder with node_modules; make readers installs what this test needs")
		}
		text, err := os.ReadFile(filepath.Join(folder, "node_modules", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	blank := "file://" + writeTemp(t, "blank.html", `<!doctype html><html><body><div id="box" style="width:2000px;height:1500px"></div></body></html>`)
	want := func(t *testing.T, b *browser, js, want string) {
		t.Helper()
		if got := b.eval(js); got != want {
			t.Errorf("%s is %s, want %s", js, got, want)
		}
	}

	t.Run("svg", func(t *testing.T) {
		b := newBrowser(t)
		name := writeTemp(t, "a.svg", string(diagramText(t, args("svg")...)))
		b.run(chromedp.EmulateViewport(1400, 1000), chromedp.Navigate("file://"+name))
		want(t, b, `document.documentElement.nodeName + document.querySelectorAll("parsererror, script, a, image").length`, "svg0")
		want(t, b, `Array.from(document.querySelectorAll("path > title")).filter(x => /^\d+\. /.test(x.textContent)).length`, fmt.Sprint(len(g.Arrows)))
		want(t, b, `Array.from(document.querySelectorAll("rect > title")).filter(x => x.textContent && !x.textContent.includes("encrypted")).length`, fmt.Sprint(len(g.Nodes)))
		// No text hangs out of the picture, and each name is as wide as its box at most.
		want(t, b, `(() => { const v = document.documentElement.viewBox.baseVal; return Array.from(document.querySelectorAll("text")).filter(x => { const q = x.getBBox(); return q.x < 0 || q.y < 0 || q.x + q.width > v.width || q.y + q.height > v.height; }).length; })()`, "0")
		want(t, b, `document.documentElement.textContent.includes("</text><script>alert(1)</script>")`, "true")
		b.clean()
		b.shoot("diagram-svg", 1400, 1000, false, false)
	})
	t.Run("drawio", func(t *testing.T) {
		code := library(t, "mxgraph/javascript/mxClient.min.js")
		b := newBrowser(t)
		b.run(chromedp.EmulateViewport(2000, 1500), chromedp.Navigate(blank))
		run := func(js string) {
			b.run(chromedp.Evaluate(js, nil, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithReturnByValue(true) }))
		}
		run(`mxBasePath = mxImageBasePath = ""; mxLoadResources = mxLoadStylesheets = false; undefined`)
		run(code + "\n;undefined")
		text, _ := json.Marshal(string(diagramText(t, args("drawio")...)))
		run(`var file = new DOMParser().parseFromString(` + string(text) + `, "text/xml");
			var graph = new mxGraph(document.getElementById("box"));
			graph.setHtmlLabels(true);
			new mxCodec(file).decode(file.querySelector("mxGraphModel"), graph.getModel());
			graph.refresh();
			var cells = Object.values(graph.getModel().cells), layers = cells.filter(c => c.parent && c.parent.id === "0");
			undefined`)
		want(t, b, `layers.map(l => l.value + (l.isVisible() ? "" : " (hidden)")).join()`, "Observed,Findings,Documented, not seen (hidden)")
		want(t, b, `cells.filter(c => c.vertex && !c.id.startsWith("l") && graph.view.getState(c)).length`, fmt.Sprint(len(g.Nodes)))
		want(t, b, `cells.filter(c => c.vertex && c.id.startsWith("l")).map(c => parseInt(c.value)).sort((a, b) => a - b).join()`, strings.Join(numbers(len(g.Arrows)), ","))
		// No number stands on a box or on another number.
		want(t, b, `(() => { const box = c => graph.view.getState(c).shape.boundingBox, label = c => graph.view.getState(c).text.boundingBox;
			const meet = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
			const labels = cells.filter(c => c.edge && c.parent.isVisible()).map(label), boxes = cells.filter(c => c.vertex).map(box);
			return labels.filter((l, i) => boxes.some(x => meet(l, x)) || labels.some((o, k) => k < i && meet(l, o))).length; })()`, "0")
		// Those of visible layers are drawn, from a box to a box; all of them can be moved.
		want(t, b, `cells.filter(c => c.edge && c.parent.isVisible() && c.source.vertex && c.target.vertex && graph.view.getState(c).absolutePoints.every(p => p)).length`, fmt.Sprint(len(g.Arrows)))
		want(t, b, `cells.filter(c => c.edge && !c.parent.isVisible()).length > 0`, "true")
		want(t, b, `cells.every(c => !c.vertex && !c.edge || graph.isCellMovable(c))`, "true")
		want(t, b, `document.querySelectorAll("#box script, #box img").length`, "0")
		want(t, b, `document.getElementById("box").textContent.includes("<script>alert(1)</script>")`, "true")
		b.clean()
		b.shoot("diagram-drawio", 2000, 1500, false, false)
	})
	t.Run("mermaid", func(t *testing.T) {
		code := library(t, "mermaid/dist/mermaid.min.js")
		b := newBrowser(t)
		b.run(chromedp.EmulateViewport(2000, 1500), chromedp.Navigate(blank), chromedp.Evaluate(code+"\n;undefined", nil))
		text, _ := json.Marshal(string(diagramText(t, args("mermaid")...)))
		var svg string
		b.run(chromedp.Evaluate(`mermaid.initialize({startOnLoad: false, maxTextSize: 1e6}); mermaid.render("m", `+string(text)+`).then(r => { document.getElementById("box").innerHTML = r.svg; return r.svg; })`, &svg,
			func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
		if !strings.Contains(svg, "<svg") {
			t.Errorf("Mermaid draws %q", svg)
		}
		want(t, b, `document.querySelectorAll("#box g.node").length`, fmt.Sprint(len(g.Nodes)))
		want(t, b, `document.querySelectorAll("#box path.flowchart-link").length`, fmt.Sprint(len(g.Arrows)))
		want(t, b, `document.querySelectorAll("#box script, #box img").length`, "0")
		want(t, b, `document.getElementById("box").textContent.includes("<script>alert(1)</script>")`, "true")
		b.clean()
		b.shoot("diagram-mermaid", 2000, 1500, false, false)
	})
}

// numbers returns the numbers from 1 to n.
func numbers(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint(i+1))
	}
	return list
}
