package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// maxMarkdown is the number of rows of a table in a ticket.
const maxMarkdown = 30

// mdText escapes what Markdown takes for markup: s is shown as it is.
var mdText = strings.NewReplacer("\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", "\\|",
	"~", "\\~", "#", "\\#", "!", "\\!", "@", "&#64;", "\n", " ", "\r", " ")

// markdown writes p for a ticket: what is wrong and what to do, and the tables in short.
func (p *page) markdown(w io.Writer) error {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s\n", mdText.Replace(p.Title))
	line("**%s**\n", mdText.Replace(p.Sentence))
	line("%s\n", mdText.Replace(p.Facts))
	for _, a := range p.Advice {
		line("%s\n", mdText.Replace(a))
	}
	if len(p.Problems) > 0 {
		line("## What to do\n")
	}
	for i, q := range p.Problems {
		line("%d. **%s: %s** (%s, %s)", i+1, mdText.Replace(strings.ToUpper(q.State.Word)), mdText.Replace(q.Title), q.Flows, mdText.Replace(q.Word))
		for _, where := range q.Where {
			line("   - %s", mdText.Replace(where))
		}
		for _, do := range q.Todo {
			line("   - To do: %s", mdText.Replace(do))
		}
		for _, s := range q.Sources {
			line("   - Reference: %s", mdText.Replace(s))
		}
	}
	if len(p.Problems) > 0 {
		line("")
	}
	for _, t := range p.Tables {
		p.mdTable(line, t)
	}
	if len(p.NotShown) > 0 {
		line("## What this capture could not show\n")
		for _, n := range p.NotShown {
			line("- %s", mdText.Replace(n.Title))
			for _, l := range n.Lines {
				line("  - %s", mdText.Replace(l))
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// mdTable writes a table, or only its bars where its rows are for a page.
func (p *page) mdTable(line func(string, ...any), t *table) {
	if t.Fold && len(t.Bars) == 0 {
		return
	}
	line("## %s\n", mdText.Replace(t.Title))
	for _, r := range t.Bars {
		line("- %s: %s", mdText.Replace(r.Name), mdText.Replace(r.Words))
	}
	if t.Fold {
		line("")
		return
	}
	if len(t.Rows) == 0 {
		line("%s\n", mdText.Replace(t.Empty))
		return
	}
	var names, rules []string
	for _, c := range t.Cols {
		names = append(names, mdText.Replace(c.Name))
		if c.Num {
			rules = append(rules, "--:")
		} else {
			rules = append(rules, "---")
		}
	}
	line("| %s |", strings.Join(names, " | "))
	line("| %s |", strings.Join(rules, " | "))
	for i, r := range t.Rows {
		if i == maxMarkdown {
			break
		}
		var cells []string
		for k := range r {
			cells = append(cells, r[k].markdown())
		}
		line("| %s |", strings.Join(cells, " | "))
	}
	if n := len(t.Rows) - maxMarkdown; n > 0 {
		line("\n%d more rows are in the HTML form.", n)
	}
	if t.Left != "" {
		line("\n%s", mdText.Replace(t.Left))
	}
	line("")
}

func (c *cell) markdown() string {
	var parts []string
	if c.State.Word != "" {
		parts = append(parts, mdText.Replace(c.State.Word))
	}
	if c.Text != "" {
		parts = append(parts, mdText.Replace(c.Text))
	}
	out := strings.Join(parts, " ")
	for _, l := range c.Lines {
		if out != "" {
			out += "<br>"
		}
		out += mdText.Replace(l)
	}
	return out
}
