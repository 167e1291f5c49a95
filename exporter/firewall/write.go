package firewall

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/exspan/exspan/exporter/text"
)

// Format is how rules are written.
type Format string

// The formats.
const (
	Table     Format = "table"
	NFTables  Format = "nftables"  // for nft -f
	IPTables  Format = "iptables"  // IPv4, for iptables-restore --noflush
	IP6Tables Format = "ip6tables" // IPv6, for ip6tables-restore --noflush
	Windows   Format = "windows"   // netsh advfirewall
	CSV       Format = "csv"
)

// Formats returns every format.
func Formats() []Format { return []Format{Table, NFTables, IPTables, IP6Tables, Windows, CSV} }

// Look says how text looks.
type Look struct {
	Title string // names the input
	Width int    // of the table; 0 means 100
}

// Write writes the rules.
func (p *Plan) Write(w io.Writer, f Format, o Look) error {
	if o.Width <= 0 {
		o.Width = 100
	}
	var b strings.Builder
	switch f {
	case NFTables:
		p.head(&b, "# ", o)
		p.nftables(&b)
		p.tail(&b, "# ", o)
	case IPTables, IP6Tables:
		p.head(&b, "# ", o)
		p.iptables(&b, f == IPTables)
		p.tail(&b, "# ", o)
	case Windows:
		p.head(&b, windowsMark, o)
		p.windows(&b)
		p.tail(&b, windowsMark, o)
	case CSV:
		return p.csv(w)
	default:
		p.head(&b, "# ", o)
		p.table(&b, o)
		p.tail(&b, "# ", o)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// windowsMark begins a comment in a script of Windows.
const windowsMark = "rem "

// wrap writes text behind a mark, broken at spaces.
func wrap(b *strings.Builder, mark string, indent int, s string, width int) {
	s = text.Printable(s)
	if mark == windowsMark {
		s = safe(s)
	}
	for _, l := range text.Wrap(s, width-len(mark), 0, indent) {
		b.WriteString(mark + l + "\n")
	}
}

// head writes what comes first: what Microsoft supports.
func (p *Plan) head(b *strings.Builder, mark string, o Look) {
	wrap(b, mark, 0, "Firewall rules for "+o.Title+", by exspan: what is documented, and nothing else.", o.Width)
	for _, s := range p.Support {
		wrap(b, mark, 0, s, o.Width)
	}
	if len(p.Support) > 0 {
		if p.Strict {
			wrap(b, mark, 0, "With --strict these pairs are listed by port all the same. That is your decision, and it is not supported.", o.Width)
		} else {
			wrap(b, mark, 0, "Those pairs may use any port (--strict lists their ports).", o.Width)
		}
	}
	if len(p.Rules) == 0 {
		wrap(b, mark, 0, "There are no rules: no documented path of an Exchange server was seen. Name the servers in a site file (exspan site infer begins one).", o.Width)
	}
	b.WriteByte('\n')
}

// tail writes what did not become a rule.
func (p *Plan) tail(b *strings.Builder, mark string, o Look) {
	if len(p.Refused) == 0 {
		return
	}
	b.WriteByte('\n')
	wrap(b, mark, 0, "Not made into rules:", o.Width)
	for _, s := range p.Refused {
		wrap(b, mark, 2, "- "+s, o.Width)
	}
}

// joined returns the ports with sep between them.
func (r *Rule) joined(sep string) string {
	parts := make([]string, len(r.Ports))
	for i, x := range r.Ports {
		parts[i] = x.String()
	}
	return strings.Join(parts, sep)
}

func (r *Rule) portText() string {
	if r.Proto == "any" {
		return "any"
	}
	return r.joined(", ") + "/" + r.Proto
}

// what returns what a rule is for, for people.
func (r *Rule) what() string {
	s := r.For
	for _, more := range []string{r.Note, r.Pin} {
		if more != "" {
			s += "; " + more
		}
	}
	return s
}

// rows returns the rules as cells, those of the same ends and no note together.
func (p *Plan) rows() [][4]string {
	var rows [][4]string
	for i := range p.Rules {
		r := &p.Rules[i]
		rows = append(rows, [4]string{names(&r.From), names(&r.To), r.portText(), r.what()})
	}
	return rows
}

// table writes the rules for people. No cell is cut off: it goes on in the next line.
func (p *Plan) table(b *strings.Builder, o Look) {
	if len(p.Rules) == 0 {
		return
	}
	rows := slices.Insert(p.rows(), 0, [4]string{"FROM", "TO", "PORTS", "FOR"})
	var widths [4]int
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	share := o.Width / 5
	for i := range 3 {
		widths[i] = min(widths[i], share)
	}
	widths[3] = max(o.Width-widths[0]-widths[1]-widths[2]-6, 20)
	for _, r := range rows {
		var cells [4][]string
		lines := 0
		for i, cell := range r {
			cells[i] = broken(text.Printable(cell), widths[i])
			lines = max(lines, len(cells[i]))
		}
		for n := range lines {
			line := ""
			for i := range cells {
				cell := ""
				if n < len(cells[i]) {
					cell = cells[i][n]
				}
				line += fmt.Sprintf("%-*s  ", widths[i], cell)
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
}

// broken breaks text at spaces into lines of a width; a longer word has its own.
func broken(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// addresses returns prefixes as text; a host has no length. Any is empty.
func addresses(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, text.Prefix(p))
	}
	return out
}

func (p *Plan) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"from", "from_names", "to", "to_names", "protocol", "ports", "for", "paths", "pin", "note"}}
	for i := range p.Rules {
		r := &p.Rules[i]
		ends := func(e *Ends) string {
			if e.Any {
				return "any"
			}
			return strings.Join(addresses(e.Prefixes), " ")
		}
		rows = append(rows, []string{ends(&r.From), names(&r.From), ends(&r.To), names(&r.To), r.Proto, r.joined(" "), r.For, strings.Join(r.Paths, " "), r.Pin, r.Note})
	}
	for _, row := range rows {
		for i := range row {
			row[i] = harmless(text.Printable(row[i]))
		}
	}
	return c.WriteAll(rows)
}

// names returns the names of ends. A host with several addresses is there once.
func names(e *Ends) string {
	var list []string
	for _, t := range e.Titles {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return strings.Join(list, ", ")
}

// harmless keeps a spreadsheet from taking text for a formula: names come from the
// network.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
