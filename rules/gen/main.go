// Command gen writes rules/builtin.go, the packs of rules/packs as Go code, so that the
// program parses no YAML when it starts. It runs in the folder rules:
//
//	go generate ./rules
//
// Command gen is built with its previous output. If that does not compile any more
// because a type has changed, replace it by "var builtin []*Pack" first.
//
// All data is laid out by the linker. It contains no map and no call, so it costs nothing
// when the program starts.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"reflect"
	"strings"

	"github.com/exspan/exspan/rules"
)

func main() {
	if err := generate("packs", "builtin.go"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func generate(from, to string) error {
	packs, err := rules.Load(os.DirFS(from))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("// Code generated from the packs by rules/gen. DO NOT EDIT.\n\npackage rules\n\n// builtin holds the packs that are built in, in order.\nvar builtin = []*Pack{")
	for _, k := range packs.All() {
		fmt.Fprintf(&b, "&%s,", variable(k.Name))
	}
	b.WriteString("}\n")
	for _, k := range packs.All() {
		fmt.Fprintf(&b, "\nvar %s = ", variable(k.Name))
		write(&b, reflect.ValueOf(*k), false)
		b.WriteByte('\n')
	}
	out, err := format.Source(b.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile(to, out, 0o644)
}

// variable returns the name of a pack's variable.
func variable(pack string) string {
	return "pack" + strings.ToUpper(pack[:1]) + strings.ReplaceAll(pack[1:], "-", "")
}

// write writes v as a Go literal. It omits the type if implied is set, and omits fields
// that are zero.
func write(b *bytes.Buffer, v reflect.Value, implied bool) {
	if v.Kind() == reflect.Pointer {
		if !implied {
			b.WriteByte('&')
		}
		v = v.Elem()
	}
	t := v.Type()
	name := func() {
		if !implied {
			b.WriteString(typeName(t))
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		name()
		b.WriteByte('{')
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				fmt.Fprintf(b, "%s: ", t.Field(i).Name)
				write(b, v.Field(i), false)
				b.WriteString(", ")
			}
		}
		b.WriteByte('}')
	case reflect.Slice:
		name()
		b.WriteByte('{')
		lines := v.Len() > 0 && reflect.Indirect(v.Index(0)).Kind() == reflect.Struct && v.Type() != reflect.TypeFor[[]rules.Fact]()
		for i := range v.Len() {
			if lines {
				b.WriteByte('\n')
			}
			write(b, v.Index(i), true)
			b.WriteByte(',')
		}
		if lines {
			b.WriteByte('\n')
		}
		b.WriteByte('}')
	default:
		fmt.Fprintf(b, "%#v", v.Interface())
	}
}

// typeName returns the name of a type within package rules.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "[]" + typeName(t.Elem())
	case reflect.Pointer:
		return "*" + typeName(t.Elem())
	}
	return t.Name()
}
