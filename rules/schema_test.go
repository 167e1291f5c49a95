package rules

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	yamlast "github.com/goccy/go-yaml/ast"
	yamlparser "github.com/goccy/go-yaml/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
	schemakind "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// compiled compiles a schema with a third-party validator.
func compiled(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemasAcceptFiles validates all site files and packs of the repository against
// their schemas. An editor must not show a mistake in a valid file.
func TestSchemasAcceptFiles(t *testing.T) {
	site, pack := compiled(t, SiteSchema()), compiled(t, PackSchema())
	sites, packs := 0, 0
	check := func(name string, data []byte, s *jsonschema.Schema) {
		var v any
		if err := yaml.Unmarshal(data, &v); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := filepath.WalkDir("..", func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && (d.Name() == "bad" || d.Name() == ".git") {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".txtar") {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for part, text := range yamlIn(name, data) {
			if _, err := LoadSite("x", text); err == nil {
				sites++
				check(part, text, site)
			} else if Check("x.yaml", text) == nil || strings.Contains(name, "packs/") {
				packs++
				check(part, text, pack)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check("siteFile", []byte(siteFile), site)
	if sites < 150 || packs < 17 {
		t.Errorf("%d site files and %d packs", sites, packs)
	}
}

// yamlIn returns the YAML files in a file: the file itself, or those in the archive of a
// scenario.
func yamlIn(name string, data []byte) map[string][]byte {
	if !strings.HasSuffix(name, ".txtar") {
		return map[string][]byte{name: data}
	}
	parts := map[string][]byte{}
	for _, p := range strings.Split("\n"+string(data), "\n-- ")[1:] {
		head, body, _ := strings.Cut(p, " --\n")
		if strings.HasSuffix(head, ".yaml") {
			parts[name+" "+head] = []byte(body + "\n")
		}
	}
	return parts
}

// beyondSchemas lists parts of messages about mistakes that no schema can find. A schema
// cannot compare parts of a file with each other or with another pack, count in a text,
// or read invalid YAML.
var beyondSchemas = []string{
	" is already ", " twice", "runs backwards", "host bits", "no pack names an interface", "has no other member", "is used by no path",
	`must begin with "2`, "there is no pack", "has no path", "unknown leg set", "name of a server in this site file", "could not find end", "the file is empty",
	"a second document", "not both", "a dynamic port matches every flow: the leg needs a protocol or facts",
	"an anchor or alias", // an editor resolves it before validation
	"the path has no",    // in a pack that extends another one, in which an id may be new
}

// TestSchemasFindMistakes verifies that the schema reports an error in the same line
// wherever the loader finds a mistake, except for mistakes that no schema can find.
func TestSchemasFindMistakes(t *testing.T) {
	site, pack := compiled(t, SiteSchema()), compiled(t, PackSchema())
	found, beyond := 0, map[string]int{}
	for _, tt := range badFiles {
		data, err := os.ReadFile(filepath.Join("testdata/bad", tt.file))
		if err != nil {
			t.Fatal(err)
		}
		s := pack
		if strings.HasPrefix(tt.file, "site/") {
			s = site
		}
		lines := schemaLines(t, data, s)
		for _, want := range tt.want {
			words := strings.SplitN(want, ":", 4)
			line, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(want)
			}
			if slices.Contains(lines, line) {
				found++
				continue
			}
			i := slices.IndexFunc(beyondSchemas, func(part string) bool { return strings.Contains(want, part) })
			if i < 0 {
				t.Errorf("%s: the schema finds nothing in that line, but in %v", want, lines)
				continue
			}
			beyond[beyondSchemas[i]]++
		}
	}
	for _, part := range beyondSchemas {
		if beyond[part] == 0 {
			t.Errorf("no mistake with %q is beyond the schemas", part)
		}
	}
	t.Logf("%d mistakes found, beyond the schemas %v", found, beyond)
}

// schemaLines returns the lines in which a schema finds mistakes.
func schemaLines(t *testing.T, data []byte, s *jsonschema.Schema) []int {
	t.Helper()
	f, err := yamlparser.ParseBytes(data, 0, yamlparser.AllowDuplicateMapKey())
	var v any
	if err != nil || len(f.Docs) != 1 || f.Docs[0].Body == nil || yaml.UnmarshalWithOptions(data, &v, yaml.AllowDuplicateMapKey()) != nil {
		return nil
	}
	var lines []int
	var visit func(e *jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		n := nodeAt(f.Docs[0].Body, e.InstanceLocation)
		switch k := e.ErrorKind.(type) {
		case *schemakind.AdditionalProperties:
			for _, name := range k.Properties {
				lines = append(lines, nodePos(keyAt(n, name)).line)
			}
		case *schemakind.PropertyNames:
			// The validator may have overwritten the location of this one.
			yamlast.Walk(keyFinder(func(key yamlast.Node) {
				if name, _ := plain(key); name == k.Property {
					lines = append(lines, nodePos(key).line)
				}
			}), f.Docs[0].Body)
			return
		case *schemakind.Dependency:
			lines = append(lines, nodePos(keyAt(n, k.Prop)).line)
		default:
			lines = append(lines, nodePos(n).line)
		}
		for _, c := range e.Causes {
			visit(c)
		}
	}
	var invalid *jsonschema.ValidationError
	if err := s.Validate(v); errors.As(err, &invalid) {
		for _, c := range invalid.Causes {
			visit(c)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	return lines
}

// keyFinder calls itself with every key of every mapping.
type keyFinder func(key yamlast.Node)

func (f keyFinder) Visit(n yamlast.Node) yamlast.Visitor {
	for _, v := range valuesOf(n) {
		f(v.Key)
	}
	return f
}

func valuesOf(n yamlast.Node) []*yamlast.MappingValueNode {
	switch m := n.(type) {
	case *yamlast.MappingNode:
		return m.Values
	case *yamlast.MappingValueNode:
		return []*yamlast.MappingValueNode{m}
	}
	return nil
}

func keyAt(n yamlast.Node, name string) yamlast.Node {
	for _, v := range valuesOf(n) {
		if s, _ := plain(v.Key); s == name {
			return v.Key
		}
	}
	return n
}

// nodeAt returns the node at a location, or the last existing node on the path to it.
func nodeAt(n yamlast.Node, location []string) yamlast.Node {
	for _, name := range location {
		if s, ok := n.(*yamlast.SequenceNode); ok {
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(s.Values) || s.Values[i] == nil || s.Values[i].Type() == yamlast.NullType {
				return n
			}
			n = s.Values[i]
			continue
		}
		for _, v := range valuesOf(n) {
			if s, _ := plain(v.Key); s == name && v.Value != nil {
				if n = v.Value; n.Type() == yamlast.NullType {
					return v.Key
				}
			}
		}
	}
	return n
}

// TestSchemasKnowAllKeys compares the keys in the schemas with those in the loader's
// source, in both directions.
func TestSchemasKnowAllKeys(t *testing.T) {
	inSchema := map[string]bool{}
	var objects [][]string
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if p, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == false {
				var keys []string
				for key := range p {
					inSchema[key] = true
					keys = append(keys, key)
				}
				objects = append(objects, keys)
			}
			for _, x := range v {
				visit(x)
			}
		case []any:
			for _, x := range v {
				visit(x)
			}
		}
	}
	for _, text := range [][]byte{SiteSchema(), PackSchema()} {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		visit(v)
	}
	inLoader := map[string]bool{}
	for _, set := range loaderKeys(t) {
		for _, key := range set {
			inLoader[key] = true
		}
		if !slices.ContainsFunc(objects, func(keys []string) bool {
			return !slices.ContainsFunc(set, func(key string) bool { return !slices.Contains(keys, key) })
		}) {
			t.Errorf("no object of a schema has the keys %v", set)
		}
	}
	for key := range inSchema {
		if !inLoader[key] {
			t.Errorf("the loader does not know the key %q", key)
		}
	}
	if len(objects) < 20 {
		t.Errorf("%d objects", len(objects))
	}
}

// loaderKeys returns the keys of every "switch key" in the source of the loader.
func loaderKeys(t *testing.T) [][]string {
	t.Helper()
	var sets [][]string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SwitchStmt)
			if !ok {
				return true
			}
			if tag, ok := s.Tag.(*ast.Ident); !ok || tag.Name != "key" {
				return true
			}
			var keys []string
			for _, c := range s.Body.List {
				for _, x := range c.(*ast.CaseClause).List {
					if lit, ok := x.(*ast.BasicLit); ok {
						key, err := strconv.Unquote(lit.Value)
						if err != nil {
							t.Fatal(err)
						}
						keys = append(keys, key)
					}
				}
			}
			sets = append(sets, keys)
			return true
		})
	}
	if len(sets) < 15 {
		t.Errorf("%d switches", len(sets))
	}
	return sets
}

// TestSchemaAddresses compares the expressions for addresses and ports with the parsers.
func TestSchemaAddresses(t *testing.T) {
	site := compiled(t, SiteSchema())
	for _, a := range []string{
		"10.0.0.1", "255.255.255.255", "256.0.0.1", "1.2.3", "01.2.3.4", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8:9", "1::2::3",
		"::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2::1.2.3.4", "1:2:3:4:5::1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "fe80::1%eth0", "12345::", "ff02::1", "ff::1", "224.0.0.1",
		"0.0.0.0", "2001:db8::5/64", "x", ":1", "1:", "::1:2:3:4:5:6:7", "::1:2:3:4:5:6:7:8",
	} {
		_, err := LoadSite("s", []byte("servers: [{addresses: [\""+a+"\"], roles: [cas]}]"))
		invalid := site.Validate(map[string]any{"servers": []any{map[string]any{"addresses": []any{a}, "roles": []any{"cas"}}}})
		if (err == nil) != (invalid == nil) {
			t.Errorf("address %s: the loader returns %v, the schema %v", a, err, invalid)
		}
	}
	for _, p := range []string{"10.0.0.0/8", "10.0.0.0/33", "0.0.0.0/0", "::/0", "2001:db8::/128", "2001:db8::/129", "10.0.0.0/08", "10.0.0.0", "10.0.0.0/"} {
		_, err := LoadSite("s", []byte("networks: [{cidr: \""+p+"\", role: client}]"))
		invalid := site.Validate(map[string]any{"networks": []any{map[string]any{"cidr": p, "role": "client"}}})
		if (err == nil) != (invalid == nil) {
			t.Errorf("network %s: the loader returns %v, the schema %v", p, err, invalid)
		}
	}
	for _, p := range []string{"1/tcp", "65535/udp", "65536/tcp", "0/tcp", "10-20/tcp+udp", "5/sctp", "01/tcp", "65499-65500/tcp", "99999/tcp", "dynamic/tcp", "-/esp"} {
		_, err := LoadSite("s", []byte("allow: [{from: admin, to: any, port: "+p+"}]"))
		invalid := site.Validate(map[string]any{"allow": []any{map[string]any{"from": "admin", "to": "any", "port": p}}})
		if (err == nil) != (invalid == nil) {
			t.Errorf("port %s: the loader returns %v, the schema %v", p, err, invalid)
		}
	}
}
