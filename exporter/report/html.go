package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the files of the page
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
	//go:embed live.js
	liveJS string
)

// policy returns the content security policy of a page: its own style and scripts, and
// nothing from anywhere, except that a live page asks the server that it comes from.
func policy(live bool) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	if live {
		return fmt.Sprintf("default-src 'none'; style-src %s; script-src %s %s; connect-src 'self'; base-uri 'none'; form-action 'self'", hash(pageCSS), hash(pageJS), hash(liveJS))
	}
	return fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; base-uri 'none'; form-action 'none'", hash(pageCSS), hash(pageJS))
}

// parse returns the templates.
func parse(live bool) (*template.Template, error) {
	return template.New("page").Funcs(template.FuncMap{
		"css":    func() template.CSS { return template.CSS(pageCSS) },
		"js":     func() template.JS { return template.JS(pageJS) },
		"liveJS": func() template.JS { return template.JS(liveJS) },
		"policy": func() string { return policy(live) },
	}).Parse(pageHTML)
}

// Section is a part of a page that has a place of its own.
type Section struct {
	ID, Title string
	HTML      template.HTML
	Main      bool // it is a part of the main part of the page
}

// render makes the sections of p.
func (p *page) render(t *template.Template) error {
	add := func(name, id, title string, data any) error {
		var b strings.Builder
		err := t.ExecuteTemplate(&b, name, data)
		p.Sections = append(p.Sections, Section{id, title, template.HTML(b.String()), true})
		return err
	}
	var errs []error
	if len(p.Problems) > 0 {
		errs = append(errs, add("todo", "todo", "What to do", p))
	}
	if p.Diagram != "" {
		errs = append(errs, add("diagram", "diagram", "Diagram", p))
	}
	for _, x := range p.Tables {
		errs = append(errs, add("table", x.ID, x.Title, x))
	}
	if len(p.NotShown) > 0 {
		errs = append(errs, add("limits", "limits", "What it could not show", p))
	}
	return errors.Join(errs...)
}

// html writes p as one HTML page.
func (p *page) html(w io.Writer) error {
	t, err := parse(p.Live != nil)
	if err != nil {
		return err
	}
	if err := p.render(t); err != nil {
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
