package parquet

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	pzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// SchemaVersion is the version of the schema, which every file states under the key
// "exspan.schema". It changes when a column changes its meaning or disappears, and
// stays when a column is added.
const SchemaVersion = 1

const (
	// rowGroup is the maximum number of rows in a row group. A writer holds one row
	// group, compressed, and the dictionaries of its columns.
	rowGroup = 128 << 10
	// pageSize is the size of the pages of a column in bytes, before compression.
	pageSize = 64 << 10
	// maxDictionary is the maximum size of a dictionary in bytes. The values of a
	// column with a larger one are written as they are.
	maxDictionary = 1 << 20
)

// row declares the schema: its tags are those of parquet-go, and "doc" describes a
// column. Names and nesting are those of NDJSON. No value of this type exists.
// appendRow appends the values in this order.
type row struct {
	First        int64    `parquet:"first,optional,delta,timestamp(nanosecond)" doc:"time of the first packet"`
	Last         int64    `parquet:"last,optional,delta,timestamp(nanosecond)" doc:"time of the last packet, by which the file of the hour is chosen"`
	Sensor       string   `parquet:"sensor,optional,dict" doc:"name of the sensor; in folders, the folder has it instead"`
	Interface    string   `parquet:"interface,optional,dict" doc:"interface that captured the first packet"`
	CommunityID  string   `parquet:"community_id,plain" doc:"Community ID, version 1, as Zeek, Suricata and Wireshark compute it"`
	Conversation string   `parquet:"conversation,optional,dict" doc:"shared by the flows on either side of a load balancer"`
	Proto        string   `parquet:"proto,dict" doc:"tcp, udp or esp"`
	Client       host     `parquet:"client"`
	Server       host     `parquet:"server"`
	VLAN         []string `parquet:"vlan,optional,list" parquet-element:",dict" doc:"tag stacks, outermost tag first"`
	Packets      count    `parquet:"packets"`
	Bytes        count    `parquet:"bytes"`
	GapBytes     lost     `parquet:"gap_bytes"`
	State        string   `parquet:"state,optional,dict" doc:"ended; active in records that are converted from NDJSON"`
	Outcome      string   `parquet:"outcome,optional,dict" doc:"how the set-up went: answered, refused, unanswered, ..."`
	SetupUS      int64    `parquet:"setup_us,optional,delta" doc:"time from SYN to SYN-ACK in microseconds"`
	Protocol     string   `parquet:"protocol,optional,dict" doc:"protocol that was recognised"`
	GivenUp      string   `parquet:"given_up,optional,dict" doc:"why the content was read no further"`
	// Facts is a map of lists.
	Facts    map[string][]string `parquet:"facts,optional" parquet-key:",dict" parquet-value:",list" doc:"facts that were read, by name"`
	Endpoint *endpoint           `parquet:"endpoint,optional"`
	Verdict  verdict             `parquet:"verdict"`
}

type host struct {
	IP    string   `parquet:"ip,optional,dict" doc:"address as text"`
	Addr  [16]byte `parquet:"addr,optional,dict" doc:"address as 16 bytes; IPv4 is mapped into IPv6 (::ffff:192.0.2.1)"`
	Port  int32    `parquet:"port,delta" doc:"port; 0 for esp"`
	Name  string   `parquet:"name,optional,dict" doc:"name, from the site file or from traffic"`
	Roles []string `parquet:"roles,optional,list" parquet-element:",dict" doc:"roles; mailbox|cas where it is open which"`
}

type count struct {
	ToServer int64 `parquet:"to_server,delta" doc:"from the client to the server"`
	ToClient int64 `parquet:"to_client,delta" doc:"from the server to the client"`
}

type lost struct {
	ToServer int64 `parquet:"to_server,optional" doc:"bytes not captured, from the client to the server"`
	ToClient int64 `parquet:"to_client,optional" doc:"bytes not captured, from the server to the client"`
}

type endpoint struct {
	Service    string `parquet:"service,optional,dict" doc:"service that was announced at the server's address and port"`
	Annotation string `parquet:"annotation,optional,dict" doc:"text of the endpoint mapper"`
	Source     string `parquet:"source,optional,dict" doc:"what announced it"`
	From       string `parquet:"from,optional,dict" doc:"address and port of what announced it"`
	Announced  string `parquet:"announced,optional,dict" doc:"announced address, where it is not the server's"`
	Learned    int64  `parquet:"learned,optional,dict,timestamp(nanosecond)" doc:"time of the announcement"`
}

type verdict struct {
	Status           string    `parquet:"status,dict" doc:"expected, deviating, unexpected, unrelated or undetermined"`
	Path             string    `parquet:"path,optional,dict" doc:"data path, as rules list names it"`
	Also             []string  `parquet:"also,optional,list" parquet-element:",dict" doc:"data paths that fit as well"`
	Group            string    `parquet:"group,optional,dict" doc:"name for path and also together"`
	Confidence       string    `parquet:"confidence,optional,dict" doc:"port, pattern, learned or observed"`
	SourceConfidence string    `parquet:"source_confidence,optional,dict" doc:"how sure the document of the path is"`
	Version          string    `parquet:"version,optional,dict" doc:"version of Exchange whose rules apply"`
	VersionSource    string    `parquet:"version_source,optional,dict" doc:"how that version is known"`
	Reason           string    `parquet:"reason,optional,dict" doc:"why the flow is unexpected or undetermined"`
	Why              string    `parquet:"why,optional,dict" doc:"the verdict's ground in a sentence"`
	Findings         []finding `parquet:"findings,optional,list"`
}

type finding struct {
	ID     string `parquet:"id,dict" doc:"name of the finding, as glossary explains it"`
	Level  string `parquet:"level,dict" doc:"violation, accepted or remark"`
	Detail string `parquet:"detail,optional,dict" doc:"what was seen"`
}

// schemaOf returns the schema with the column sensor, or without it, as it is in
// folders that are named after the sensor. Schemas are made when a file is first
// written, because programs that write none would pay for them at their start.
var schemaOf = [2]func() *schema{
	sync.OnceValue(func() *schema { return newSchema(false) }),
	sync.OnceValue(func() *schema { return newSchema(true) }),
}

// schema is a schema of Parquet and its leaves, in order.
type schema struct {
	*parquet.Schema
	leaves []leaf
}

// A leaf is a column with values.
type leaf struct {
	path     string
	kind     parquet.Kind
	repeated bool
	max      int // definition level of a value that is not null
	doc      string
}

func newSchema(sensor bool) *schema {
	var fields []reflect.StructField
	t := reflect.TypeFor[row]()
	for i := range t.NumField() {
		if f := t.Field(i); sensor || f.Name != "Sensor" {
			fields = append(fields, f)
		}
	}
	t = reflect.StructOf(fields)
	s := &schema{Schema: parquet.NewSchema("flow", parquet.SchemaOf(reflect.New(t).Interface()))}
	docs := map[string]string{}
	describe(docs, t, "")
	for _, path := range s.Columns() {
		c, _ := s.Lookup(path...)
		l := leaf{path: strings.Join(path, "."), kind: c.Node.Type().Kind(), repeated: c.MaxRepetitionLevel > 0, max: c.MaxDefinitionLevel}
		l.doc = docs[l.path]
		s.leaves = append(s.leaves, l)
	}
	return s
}

// describe collects the descriptions of leaves by path.
func describe(docs map[string]string, t reflect.Type, at string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		path, doc := at+name, f.Tag.Get("doc")
		switch k := f.Type; {
		case k.Kind() == reflect.Struct:
			describe(docs, k, path+".")
		case k.Kind() == reflect.Pointer:
			describe(docs, k.Elem(), path+".")
		case k.Kind() == reflect.Slice && k.Elem().Kind() == reflect.Struct:
			describe(docs, k.Elem(), path+".list.element.")
		case k.Kind() == reflect.Slice:
			docs[path+".list.element"] = doc
		case k.Kind() == reflect.Map:
			docs[path+".key_value.key"] = doc + "; the name"
			docs[path+".key_value.value.list.element"] = doc + "; the values"
		default:
			docs[path] = doc
		}
	}
}

// newWriter returns a writer of one file. program is the version of the program.
func newWriter(s *schema, w io.Writer, program string, metadata map[string]string) *parquet.GenericWriter[any] {
	o := []parquet.WriterOption{
		s.Schema, parquet.CreatedBy("exspan", program, ""), parquet.Compression(&pzstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}),
		parquet.MaxRowsPerRowGroup(rowGroup), parquet.PageBufferSize(pageSize), parquet.DictionaryMaxBytes(maxDictionary),
		parquet.DefaultEncodingFor(parquet.ByteArray, &parquet.RLEDictionary), // the values of a map have no tag
		parquet.KeyValueMetadata("exspan.schema", strconv.Itoa(SchemaVersion)),
	}
	for key, value := range metadata {
		o = append(o, parquet.KeyValueMetadata(key, value))
	}
	return parquet.NewGenericWriter[any](w, o...)
}

// Columns writes the table of columns in Markdown, for the documentation.
func Columns(w io.Writer) error {
	if _, err := io.WriteString(w, "| column | type | what |\n| --- | --- | --- |\n"); err != nil {
		return err
	}
	for _, l := range schemaOf[1]().leaves {
		path := strings.NewReplacer(".list.element", "[]", ".key_value.key", "", ".key_value.value", "{}").Replace(l.path)
		c, _ := schemaOf[1]().Lookup(strings.Split(l.path, ".")...)
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s |\n", path, typeName(c.Node), strings.ReplaceAll(l.doc, "|", "\\|")); err != nil {
			return err
		}
	}
	return nil
}

// typeName names the type of a leaf as SQL does.
func typeName(n parquet.Node) string {
	switch n.Type().Kind() {
	case parquet.ByteArray:
		return "text"
	case parquet.FixedLenByteArray:
		return "16 bytes"
	case parquet.Int32:
		return "integer"
	}
	if l := n.Type().LogicalType(); l != nil && strings.HasPrefix(n.Type().String(), "TIMESTAMP") {
		return "UTC time, ns"
	}
	return "bigint"
}
