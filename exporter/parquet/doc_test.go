package parquet

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// TestReadme holds the generated parts of the README against the schema. With
// EXSPAN_UPDATE it rewrites them.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(data)
	for name, write := range map[string]func(*strings.Builder) error{
		"columns": func(b *strings.Builder) error { return Columns(b) },
		"json": func(b *strings.Builder) error {
			b.WriteString("```sql\n" + jsonView() + "```\n")
			return nil
		},
	} {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		part := regexp.MustCompile("(?s)<!-- " + name + " -->\n(.*?)<!-- end -->")
		m := part.FindStringSubmatchIndex(readme)
		if m == nil {
			t.Fatalf("no part %s", name)
		}
		want := "\n" + b.String() + "\n"
		if readme[m[2]:m[3]] != want {
			if os.Getenv("EXSPAN_UPDATE") == "" {
				t.Errorf("%s differs from\n%s", name, want)
			}
			readme = readme[:m[2]] + want + readme[m[3]:]
		}
	}
	if os.Getenv("EXSPAN_UPDATE") != "" {
		if err := os.WriteFile("README.md", []byte(readme), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// jsonView returns the statement that gives NDJSON the columns of Parquet, in DuckDB.
func jsonView() string {
	var b strings.Builder
	b.WriteString("SET TimeZone = 'UTC';\nCREATE VIEW flows AS\nSELECT *, 'default' AS realm, CAST(last AS DATE) AS date\nFROM read_json('flows.ndjson', format = 'newline_delimited', columns = {\n")
	for i, f := range schemaOf[1]().Fields() {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.WriteString("  " + quoteName(f.Name()) + ": '" + duckType(f) + "'")
	}
	b.WriteString("})\nWHERE state = 'ended';\n")
	return b.String()
}

// quoteName quotes what is a word of SQL.
func quoteName(s string) string {
	switch s {
	case "group", "from", "first", "last", "also", "source", "name", "level", "version":
		return `"` + s + `"`
	}
	return s
}

// duckType returns the type of DuckDB of a column as NDJSON has it: without the 16 bytes
// of addresses.
func duckType(f parquet.Field) string {
	if f.Leaf() {
		switch typeName(f) {
		case "text":
			return "VARCHAR"
		case "integer":
			return "INTEGER"
		case "bigint":
			return "BIGINT"
		case "UTC time, ns":
			return "TIMESTAMPTZ"
		}
		return ""
	}
	fields := f.Fields()
	switch f.Type().String() {
	case "LIST":
		return duckType(fields[0].Fields()[0]) + "[]"
	case "MAP":
		kv := fields[0].Fields()
		return "MAP(" + duckType(kv[0]) + ", " + duckType(kv[1]) + ")"
	}
	var parts []string
	for _, g := range fields {
		if name := duckType(g); name != "" {
			parts = append(parts, quoteName(g.Name())+" "+name)
		}
	}
	return "STRUCT(" + strings.Join(parts, ", ") + ")"
}
