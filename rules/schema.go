package rules

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// schema is a JSON Schema (draft-07, which editors support best). It has only the
// keywords that the two schemas need.
type schema struct {
	Schema       string              `json:"$schema,omitempty"`
	Title        string              `json:"title,omitempty"`
	Description  string              `json:"description,omitempty"`
	Type         any                 `json:"type,omitempty"` // a string, or a list of strings
	Enum         []any               `json:"enum,omitempty"`
	Pattern      string              `json:"pattern,omitempty"`
	Minimum      int                 `json:"minimum,omitempty"`
	Maximum      int                 `json:"maximum,omitempty"`
	Items        *schema             `json:"items,omitempty"`
	MinItems     int                 `json:"minItems,omitempty"`
	UniqueItems  bool                `json:"uniqueItems,omitempty"`
	Properties   map[string]*schema  `json:"properties,omitempty"`
	Required     []string            `json:"required,omitempty"`
	MinProps     int                 `json:"minProperties,omitempty"`
	Additional   any                 `json:"additionalProperties,omitempty"` // false, or a *schema
	Names        *schema             `json:"propertyNames,omitempty"`
	Dependencies map[string][]string `json:"dependencies,omitempty"`
	AllOf        []*schema           `json:"allOf,omitempty"`
	AnyOf        []*schema           `json:"anyOf,omitempty"`
	Not          *schema             `json:"not,omitempty"`
	If           *schema             `json:"if,omitempty"`
	Then         *schema             `json:"then,omitempty"`
	Else         *schema             `json:"else,omitempty"`
}

// SiteSchema returns a JSON Schema of site files. It accepts everything that LoadSite
// accepts, and refuses what a schema can refuse: a schema cannot compare parts of a file.
func SiteSchema() []byte { return siteSchema().marshal() }

// PackSchema returns a JSON Schema of packs of rules. It accepts everything that Load
// accepts, and refuses what a schema can refuse: a schema cannot compare parts of a file.
func PackSchema() []byte { return packSchema().marshal() }

func (s *schema) marshal() []byte {
	s.Schema = "http://json-schema.org/draft-07/schema#"
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		panic(err) // plain data
	}
	return []byte(b.String())
}

// The regular expressions of the schemas use the common subset of ECMA 262, RE2 and PCRE.
const (
	portRE  = `([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`
	protoRE = `(tcp|udp|tcp\+udp)`
	rangeRE = portRE + `(-` + portRE + `)?/` + protoRE
	ipRE    = `-/(icmp|icmp6|esp|ah)`
	octetRE = `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	ipv4RE  = octetRE + `(\.` + octetRE + `){3}`
	hexRE   = `[0-9A-Fa-f]{1,4}`
)

// ipv6RE matches the text forms of an IPv6 address (RFC 4291 section 2.2).
func ipv6RE() string {
	forms := []string{
		"(" + hexRE + ":){7}" + hexRE, "(" + hexRE + ":){1,7}:", ":(:" + hexRE + "){1,7}", "::",
		"(" + hexRE + ":){6}" + ipv4RE, "::(" + hexRE + ":){0,5}" + ipv4RE,
	}
	for i := 1; i <= 6; i++ {
		forms = append(forms, "("+hexRE+":){1,"+strconv.Itoa(7-i)+"}(:"+hexRE+"){1,"+strconv.Itoa(i)+"}")
	}
	for i := 1; i <= 5; i++ {
		forms = append(forms, "("+hexRE+":){1,"+strconv.Itoa(i)+"}:("+hexRE+":){0,"+strconv.Itoa(5-i)+"}"+ipv4RE)
	}
	return "(" + strings.Join(forms, "|") + ")"
}

// describe sets the description of s and returns s.
func (s *schema) describe(description string) *schema {
	s.Description = description
	return s
}

// anyText returns the schema of a non-empty text. A number or a flag without quotes is
// also a text.
func anyText() *schema {
	return &schema{Type: []string{"string", "number", "boolean"}, Pattern: `\S`}
}

func pattern(re string) *schema { return &schema{Type: "string", Pattern: "^(" + re + ")$"} }

func flagSchema() *schema { return &schema{Type: "boolean"} }

// oneOf returns the schema of one of the words. Words that look like numbers need no
// quotes.
func oneOf(words ...string) *schema {
	s := &schema{}
	for _, w := range words {
		s.Enum = append(s.Enum, w)
	}
	for _, w := range words {
		if n, err := strconv.ParseFloat(w, 64); err == nil {
			s.Enum = append(s.Enum, n)
		}
	}
	return s
}

// someOf returns the schema of one or more of the words, separated by "|".
func someOf(words ...string) *schema {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strings.ReplaceAll(w, ".", `\.`)
	}
	one := "(" + strings.Join(quoted, "|") + ")"
	return &schema{AnyOf: []*schema{oneOf(words...), pattern(one + `(\|` + one + `)*`)}}
}

// alternatives returns the schema of texts separated by "|".
func alternatives() *schema {
	s := anyText()
	s.Pattern = `^[^|]+(\|[^|]+)*$`
	return s
}

func listOf(items *schema) *schema { return &schema{Type: "array", Items: items} }

// textOrList returns the schema of a text, or of a list of distinct texts.
func textOrList() *schema {
	return &schema{AnyOf: []*schema{anyText(), {Type: "array", Items: anyText(), MinItems: 1, UniqueItems: true}}}
}

// object returns the schema of a mapping with no keys but those of properties.
func object(properties map[string]*schema, required ...string) *schema {
	return &schema{Type: "object", Properties: properties, Required: required, Additional: false}
}

// mapping returns the schema of a mapping with any keys.
func mapping(values *schema) *schema { return &schema{Type: "object", Additional: values} }

func roleList(allowed ends) []string {
	return slices.DeleteFunc(slices.Clone(roleWords), func(s string) bool {
		return s == string(Any) && allowed != ofPath || s == string(AnyExchange) && allowed == ofHost
	})
}

func portNumberSchema() *schema {
	return &schema{AnyOf: []*schema{{Type: "integer", Minimum: 1, Maximum: 65535}, pattern(portRE)}}
}

// without adds the condition that none of the expressions matches.
func (s *schema) without(expressions ...string) *schema {
	s.Not = &schema{Type: "string", Pattern: strings.Join(expressions, "|")}
	return s
}

// hostOrNetwork returns the schema of an address or a network.
func hostOrNetwork() *schema {
	return pattern(ipv4RE + `(/(3[0-2]|[12]?[0-9]))?|` + ipv6RE() + `(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?`)
}

func siteSchema() *schema {
	version := func() *schema {
		return &schema{AnyOf: []*schema{oneOf(ruledVersions...), pattern("[Ss][Ee]")}}
	}
	server := object(map[string]*schema{
		"name": anyText().describe("The server's name, as reports print it."),
		"addresses": {
			Type: "array", MinItems: 1, Description: "The server's addresses. Quote an IPv6 address.",
			Items: pattern(ipv4RE+"|"+ipv6RE()).without(`^(22[4-9]|23[0-9])\.`, `^[Ff]{2}[0-9A-Fa-f]{2}:`, `^(::|0\.0\.0\.0)$`),
		},
		"roles":    {Type: "array", MinItems: 1, UniqueItems: true, Items: oneOf(roleList(ofHost)...), Description: "What the server does."},
		"one_of":   {Type: "array", MinItems: 2, UniqueItems: true, Items: oneOf(roleList(ofHost)...), Description: "Roles of which the server has one, where it is open which. It may have more."},
		"partial":  flagSchema().describe("The server may have more roles than those. Leave it out where all are known."),
		"exchange": version().describe("The server's Exchange version, if it is another than that of the file."),
		"static_ports": {
			Type: "object", Names: oneOf(pinnable()...), Additional: portNumberSchema(),
			Properties:  map[string]*schema{},
			Description: "The TCP port that each RPC service is pinned to, by the short name of its interface.",
		},
	}, "addresses")
	server.AnyOf = []*schema{{Required: []string{"roles"}}, {Required: []string{"one_of"}}}
	for _, name := range pinnable() {
		server.Properties["static_ports"].Properties[name] = portNumberSchema()
	}
	network := object(map[string]*schema{
		"cidr": pattern(ipv4RE + `/(3[0-2]|[12]?[0-9])|` + ipv6RE() + `/(12[0-8]|1[01][0-9]|[1-9]?[0-9])`).describe("The network, such as 10.9.0.0/16."),
		"role": oneOf(roleList(ofHost)...).describe("What the hosts of the network do."),
	}, "cidr", "role")
	allow := object(map[string]*schema{
		"from": oneOf(roleList(ofPath)...).describe("The role of the client."),
		"to":   oneOf(roleList(ofPath)...).describe("The role of the server."),
		"port": pattern(rangeRE).describe("The port, such as 3389/tcp or 5000-5010/udp."),
		"note": anyText().describe("Why the flow is wanted. Reports print it."),
	}, "from", "to", "port")
	accept := object(map[string]*schema{
		"finding": oneOf(findingIDs()...).describe("The id of the finding."),
		"path":    pattern(`\*|[^ *,|]*\.[^ *,|]*\*?`).describe("The id of a data path, or its beginning with *, such as 2010.cas.*."),
		"from":    anyText().describe("A role, an address, a network, or the name of a server."),
		"to":      anyText().describe("A role, an address, a network, or the name of a server."),
		"until":   pattern(`[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])`).describe("The last day on which it is accepted, in UTC."),
		"note":    anyText().describe("Why it is accepted."),
	}, "finding")
	s := object(map[string]*schema{
		"exchange":          version().describe("The Exchange version of all servers that name none."),
		"servers":           listOf(server).describe("The servers with their roles."),
		"networks":          listOf(network).describe("Networks whose hosts have a role, such as those of clients."),
		"log_shipping_port": portNumberSchema().describe("The TCP port of log shipping in a database availability group; 64327 unless it was changed."),
		"allow":             listOf(allow).describe("Flows that no document explains and that are wanted."),
		"accept":            listOf(accept).describe("Findings that are known and accepted."),
		"relays":            listOf(hostOrNetwork()).describe("Hosts that announce media for others, such as session border controllers."),
		"mirrors":           listOf(hostOrNetwork()).describe("Ends of tunnels that carry mirrored packets: ERSPAN, VXLAN, TZSP."),
		"sensors":           listOf(anyText()).describe("Sensors whose knowledge is believed; without the list, all that share a realm."),
	})
	s.Title = "exspan site file"
	s.Description = "What is known of a network: its Exchange servers, their roles, and what is wanted."
	return s
}
