// Package flagfile sets flags from a configuration file.
package flagfile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/pflag"
)

// Apply sets flags from a configuration file in YAML, which maps the long names of flags
// to their values, and repeatable flags to lists. Flags given on the command line keep
// their values. Flags in except cannot be set. If filter is not nil, the key "filter" sets
// it, unless it is set already. Apply returns all mistakes, each with file, line and column.
func Apply(flags *pflag.FlagSet, filter *string, name string, data []byte, except ...string) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var errs []error
	wrong := func(n ast.Node, format string, args ...any) {
		p := n.GetToken().Position
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s", name, p.Line, p.Column, fmt.Sprintf(format, args...)))
	}
	var entries []*ast.MappingValueNode
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		m, ok := doc.Body.(*ast.MappingNode)
		if i > 0 || !ok {
			wrong(doc.Body, "want one mapping from flags to values")
			continue
		}
		entries = m.Values
	}
	for _, e := range entries {
		key := e.Key.GetToken().Value
		values, ok := scalars(e.Value)
		if !ok {
			wrong(e.Value, "%s: want a value or a list of values", key)
			continue
		}
		if key == "filter" && filter != nil {
			if len(values) != 1 {
				wrong(e.Key, "filter: want one value")
			} else if *filter == "" {
				*filter = values[0]
			}
			continue
		}
		f := flags.Lookup(key)
		if f == nil || slices.Contains(except, key) {
			also := ""
			if filter != nil {
				also = ", and filter"
			}
			wrong(e.Key, "unknown key %q; the keys are the flags' long names%s", key, also)
			continue
		}
		list, isList := f.Value.(pflag.SliceValue)
		if !isList && len(values) != 1 {
			wrong(e.Key, "%s: want one value, not %d", key, len(values))
			continue
		}
		if f.Changed {
			continue
		}
		if isList {
			err = list.Replace(values)
		} else {
			err = f.Value.Set(values[0])
		}
		if err != nil {
			wrong(e.Value, "%s: %v", key, err)
		}
	}
	return errors.Join(errs...)
}

// scalars returns a scalar, or a list of scalars, as text, and whether n is one of these.
func scalars(n ast.Node) ([]string, bool) {
	switch v := n.(type) {
	case *ast.SequenceNode:
		var list []string
		for _, item := range v.Values {
			s, ok := scalars(item)
			if !ok || len(s) != 1 {
				return nil, false
			}
			list = append(list, s[0])
		}
		return list, true
	case *ast.StringNode:
		return []string{v.Value}, true
	case *ast.LiteralNode:
		return []string{v.Value.Value}, true
	case *ast.NullNode, *ast.MappingNode, *ast.MappingValueNode, *ast.AliasNode, *ast.AnchorNode, *ast.TagNode:
		return nil, false
	case ast.ScalarNode:
		return []string{v.GetToken().Value}, true
	}
	return nil, false
}
