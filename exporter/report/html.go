package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the files of the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// policy returns the content security policy of a page: its own style and script, and
// nothing from anywhere.
func policy() string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; base-uri 'none'; form-action 'none'", hash(pageCSS), hash(pageJS))
}

// html writes p as one HTML page.
func (p *page) html(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"css":    func() template.CSS { return template.CSS(pageCSS) },
		"js":     func() template.JS { return template.JS(pageJS) },
		"policy": policy,
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// setDiagram puts an SVG into p, without a prologue, which has no place in a page. It is made
// by package diagram, which escapes what was read from the wire.
func (p *page) setDiagram(svg []byte) {
	svg = svg[max(bytes.Index(svg, []byte("<svg")), 0):]
	p.Diagram = template.HTML(bytes.TrimSpace(svg))
}
