package rules

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Mistake is one mistake in a file of rules or a site file.
type Mistake struct {
	File string
	// Line and Column start at 1. Columns are counted in characters.
	Line, Column int
	Message      string
}

func (m Mistake) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Message)
}

// Mistakes lists all mistakes, in the order of files, lines and columns. The error text
// has one line for each mistake.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}

// Limits of a file. A hostile or mistaken file that exceeds them causes an error.
const (
	maxFileSize = 256 << 10 // bytes
	maxNesting  = 32        // nested lists and mappings; the formats need 6
)

// pos is a position in a file.
type pos struct{ line, col int }

func tokenPos(tk *token.Token) pos {
	if tk == nil || tk.Position == nil {
		return pos{1, 1}
	}
	return pos{max(tk.Position.Line, 1), max(tk.Position.Column, 1)}
}

func nodePos(n ast.Node) pos {
	switch v := n.(type) {
	case nil:
		return pos{1, 1}
	case *ast.MappingNode:
		// The token of a block mapping is its first ':'.
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return nodePos(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return nodePos(v.Key)
	}
	return tokenPos(n.GetToken())
}

// reader walks the syntax tree of one file and collects mistakes. Unlike decoding into
// structs, walking the tree preserves all positions and reports all mistakes instead of
// the first one. It is also faster.
type reader struct {
	file     string
	mistakes Mistakes
}

func (r *reader) fail(at pos, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{r.file, at.line, at.col, fmt.Sprintf(format, args...)})
}

// sorted returns the mistakes in the order of the file.
func (r *reader) sorted() Mistakes {
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.mistakes
}

// parse returns the body of the single document in data, or nil after a mistake.
func (r *reader) parse(data []byte) (body ast.Node) {
	if len(data) > maxFileSize {
		r.fail(pos{1, 1}, "the file has %d bytes, more than %d", len(data), maxFileSize)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the byte order mark of Windows editors
	// The library counts some Windows line ends twice.
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if at, message := tooMuch(data); message != "" {
		r.fail(at, "%s", message)
		return nil
	}
	defer func() {
		// The library can panic on broken input. A broken file must cause an ordinary
		// error message.
		if recover() != nil {
			r.fail(pos{1, 1}, "this is not YAML")
			body = nil
		}
	}()
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, message := pos{1, 1}, err.Error()
		var e yaml.Error
		if errors.As(err, &e) {
			at, message = tokenPos(e.GetToken()), e.GetMessage()
		}
		r.fail(at, "%s", firstLine(message))
		return nil
	}
	for _, d := range f.Docs {
		if d == nil || d.Body == nil {
			continue
		}
		if _, ok := d.Body.(*ast.CommentGroupNode); ok {
			continue
		}
		if body != nil {
			r.fail(nodePos(d.Body), "a second document is not allowed")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.fail(pos{1, 1}, "the file is empty")
	}
	return body
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// tooMuch finds constructs that make the parser recurse deeply or take quadratic time.
// None of them belongs in these formats. It also counts brackets in strings and comments,
// but ordinary files close them or contain few.
func tooMuch(data []byte) (pos, string) {
	depth, marks, atStart := 0, 0, true
	at := pos{1, 0}
	for i, c := range data {
		at.col++
		if atStart {
			switch c {
			case ' ':
			case '-':
				marks++ // "- - - x" is also nested
			case '?':
				if i+1 < len(data) && (data[i+1] == ' ' || data[i+1] == '\n') {
					return at, "keys written with ? are not allowed"
				}
				atStart = false
			default:
				atStart = false
			}
		}
		switch c {
		case '\n':
			at.line++
			at.col, marks, atStart = 0, 0, true
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxNesting || marks > maxNesting && c == ' ' {
			return at, fmt.Sprintf("lists and mappings are nested more than %d deep", maxNesting)
		}
	}
	return pos{}, ""
}

// names is a set of names. It is usually small.
type names struct {
	list []string
	more map[string]bool
}

// add adds a name and reports whether it was new.
func (s *names) add(name string) bool {
	if slices.Contains(s.list, name) || s.more[name] {
		return false
	}
	if len(s.list) < 16 {
		s.list = append(s.list, name)
		return true
	}
	if s.more == nil {
		s.more = map[string]bool{}
	}
	s.more[name] = true
	return true
}

// each calls f for every key of the mapping n. f reports whether it knows the key.
func (r *reader) each(n ast.Node, what string, f func(key string, at pos, v ast.Node) bool) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fail(nodePos(n), "%s must be a mapping, not %s", what, kind(n))
		return
	}
	var seen names
	for _, mv := range values {
		if mv.Key == nil {
			r.fail(nodePos(mv.Value), "%s has an empty key", what)
			continue
		}
		key, ok := plain(mv.Key)
		if !ok {
			r.fail(nodePos(mv.Key), "a key must be a plain word, not %s", kind(mv.Key))
			continue
		}
		at := nodePos(mv.Key)
		switch {
		case !seen.add(key):
			r.fail(at, "%s has %q twice", what, key)
		case mv.Value == nil || mv.Value.Type() == ast.NullType:
			// Known keys must not be empty either. An unknown key takes precedence.
			if f(key, at, nil) {
				r.fail(at, "%q has no value", key)
			} else {
				r.fail(at, "unknown key %q in %s", key, what)
			}
		case !f(key, at, mv.Value):
			r.fail(at, "unknown key %q in %s", key, what)
		}
	}
}

// items calls f for every item of the list n.
func (r *reader) items(n ast.Node, what string, f func(v ast.Node)) {
	if n == nil {
		return
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(nodePos(n), "%s must be a list, not %s", what, kind(n))
		return
	}
	for _, v := range s.Values {
		if v == nil || v.Type() == ast.NullType {
			r.fail(nodePos(n), "%s has an empty item", what)
			continue
		}
		f(v)
	}
}

// text returns the scalar n as written. 0.81 and 1.0 are texts here, not numbers.
func (r *reader) text(n ast.Node, what string) string {
	if n == nil {
		return ""
	}
	s, ok := plain(n)
	if !ok {
		r.fail(nodePos(n), "%s must be a text, not %s", what, kind(n))
		return ""
	}
	if strings.TrimSpace(s) == "" {
		r.fail(nodePos(n), "%s is empty", what)
	}
	return s
}

// word is a part of a scalar and its position.
type word struct {
	text string
	at   pos
}

// words returns the alternatives of a scalar such as "ntlm|kerberos".
func (r *reader) words(n ast.Node, what string) []word {
	s := r.text(n, what)
	if s == "" {
		return nil
	}
	at := nodePos(n)
	if quoted(n) {
		at.col++
	}
	list := make([]word, 0, strings.Count(s, "|")+1)
	var seen names
	for part := range strings.SplitSeq(s, "|") {
		if part == "" {
			r.fail(at, "%s has an empty alternative", what)
		} else if !seen.add(part) {
			r.fail(at, "%s has %q twice", what, part)
		} else {
			list = append(list, word{part, at})
		}
		at.col += utf8.RuneCountInString(part) + 1
	}
	return list
}

// texts reads a list of texts. A single text needs no brackets.
func (r *reader) texts(n ast.Node, what string) []word {
	if n == nil {
		return nil
	}
	if n.Type() != ast.SequenceType {
		if s := r.text(n, what); s != "" {
			return []word{{s, nodePos(n)}}
		}
		return nil
	}
	var list []word
	var seen names
	r.items(n, what, func(v ast.Node) {
		s := r.text(v, what)
		if s != "" && !seen.add(s) {
			r.fail(nodePos(v), "%s has %q twice", what, s)
		} else if s != "" {
			list = append(list, word{s, nodePos(v)})
		}
	})
	if len(list) == 0 && len(n.(*ast.SequenceNode).Values) == 0 {
		r.fail(nodePos(n), "%s is empty", what)
	}
	return list
}

// flag reads true or false.
func (r *reader) flag(n ast.Node, what string) bool {
	if n == nil {
		return false
	}
	b, ok := n.(*ast.BoolNode)
	if !ok {
		r.fail(nodePos(n), "%s must be true or false", what)
		return false
	}
	return b.Value
}

// plain returns the text of a scalar.
func plain(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		if v.Value == nil {
			return "", true
		}
		return strings.TrimSpace(v.Value.Value), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		if tk := n.GetToken(); tk != nil {
			return tk.Value, true
		}
	}
	return "", false
}

func quoted(n ast.Node) bool {
	tk := n.GetToken()
	return tk != nil && (tk.Type == token.SingleQuoteType || tk.Type == token.DoubleQuoteType)
}

// kind returns the name of a node's kind for messages.
func kind(n ast.Node) string {
	if n == nil {
		return "nothing"
	}
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.NullType:
		return "nothing"
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		return "an anchor or alias"
	case ast.TagType:
		return "a tag"
	}
	return "a text"
}
