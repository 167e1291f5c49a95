package rules

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// packReader reads one pack.
type packReader struct {
	reader
	pack     Pack
	pathPos  []pos
	ifacePos []pos
	used     []word         // interface names that matches ask for
	groups   []word         // groups as written
	groupUse map[string]int // paths in a group, by themselves or with a leg
	sets     []word         // names of leg sets
	legSets  map[string][]Leg
	setUse   map[string]bool
	bare     []pos // legs of the path at hand that name nothing but a dynamic port
	// legGroups maps the text of a leg to the group that all such legs are in.
	legGroups map[string]string
	// source and confidence stand for paths and interfaces that give none.
	source     []string
	confidence string
	// extension is set for a pack that extends another; its paths are read when
	// the other is complete.
	extension *extension
}

func (r *packReader) read(data []byte) {
	if body := r.parse(data); body != nil {
		r.readBody(body)
	}
}

func (r *packReader) readBody(body ast.Node) {
	r.pack.Name = packName(r.file)
	r.groupUse = map[string]int{}
	r.legSets = map[string][]Leg{}
	r.setUse = map[string]bool{}
	r.legGroups = map[string]string{}
	// What others refer to is read before what refers to it.
	late := map[string]ast.Node{}
	var pathsAt pos
	r.each(body, "a pack", func(key string, at pos, v ast.Node) bool {
		switch key {
		case "version":
			r.pack.Version = r.one(v, "version", packVersions)
		case "confidence":
			r.confidence = r.one(v, "confidence", confidenceWords)
		case "paths":
			late[key], pathsAt = v, at
		case "source", "extends", "documents", "groups", "leg_sets", "interfaces", "evidence", "no_evidence", "local_only", "absent", "builds",
			"pinned", "policy", "ends", "append", "without":
			late[key] = v
		default:
			return false
		}
		return true
	})
	if v := late["documents"]; v != nil {
		r.each(v, "documents", func(key string, _ pos, v ast.Node) bool {
			r.pack.Documents = append(r.pack.Documents, Document{key, r.text(v, key)})
			return true
		})
	}
	r.source = r.sources(late["source"], "source")
	r.items(late["groups"], "groups", r.group)
	if v := late["leg_sets"]; v != nil {
		r.each(v, "leg_sets", func(key string, at pos, v ast.Node) bool {
			if v != nil {
				r.legSets[key] = r.legs(v, "leg set "+key)
				r.sets = append(r.sets, word{key, at})
				r.bareLegs(true)
			}
			return true
		})
	}
	if late["paths"] != nil && r.pack.Version == "" {
		r.fail(pathsAt, "a pack with paths needs a version")
	}
	r.extends(late)
	if r.extension == nil {
		r.items(late["paths"], "paths", r.path)
	}
	r.items(late["interfaces"], "interfaces", r.iface)
	r.items(late["evidence"], "evidence", func(v ast.Node) {
		if e, ok := r.evidence(v, true); ok {
			r.pack.Evidence = append(r.pack.Evidence, e)
		}
	})
	r.items(late["no_evidence"], "no_evidence", func(v ast.Node) {
		if e, ok := r.evidence(v, false); ok {
			r.pack.NoEvidence = append(r.pack.NoEvidence, e)
		}
	})
	r.items(late["local_only"], "local_only", r.local)
	r.items(late["absent"], "absent", r.absent)
	r.items(late["builds"], "builds", r.build)
	r.items(late["pinned"], "pinned", r.pinned)
	if v := late["policy"]; v != nil {
		r.policy(v)
	}
}

// one returns the text of n if it is one of the words.
func (r *reader) one(n ast.Node, what string, words []string) string {
	if n == nil {
		return ""
	}
	s := r.text(n, what)
	if s != "" && !slices.Contains(words, s) {
		r.fail(nodePos(n), "unknown %s %q (one of %s)%s", what, s, strings.Join(words, ", "), guess(s, words))
		return ""
	}
	return s
}

// some returns the alternatives of n that are among the words.
func (r *reader) some(n ast.Node, what string, words []string) []string {
	var list []string
	for _, w := range r.words(n, what) {
		if !slices.Contains(words, w.text) {
			r.fail(w.at, "unknown %s %q (of %s)%s", what, w.text, strings.Join(words, ", "), guess(w.text, words))
			continue
		}
		list = append(list, w.text)
	}
	return list
}

// ends tells which of the two words for many roles a role may be.
type ends int

const (
	ofHost   ends = iota // a role that a host has
	ofServer             // or any-exchange
	ofPath               // or any
)

func (r *reader) role(w word, of ends) (Role, bool) {
	role := Role(w.text)
	switch {
	case !slices.Contains(roles, role):
		r.fail(w.at, "unknown role %q%s", w.text, guess(w.text, roleWords))
		return "", false
	case role == Any && of != ofPath:
		r.fail(w.at, "no host has the role any; it is for the ends of paths and of allowed flows")
		return "", false
	case role == AnyExchange && of == ofHost:
		r.fail(w.at, "name the roles of the server; any-exchange is for the ends of paths and of allowed flows")
		return "", false
	}
	return role, true
}

func (r *reader) roles(n ast.Node, what string, of ends) []Role {
	var list []Role
	for _, w := range r.words(n, what) {
		if role, ok := r.role(w, of); ok {
			list = append(list, role)
		}
	}
	return list
}

// sources returns the documents of a text or of a list. Each is a key of
// documents, or the text itself.
func (r *packReader) sources(n ast.Node, what string) []string {
	var list []string
	for _, w := range r.texts(n, what) {
		list = append(list, r.document(w.text))
	}
	return list
}

func (r *packReader) document(key string) string {
	for i := range r.pack.Documents {
		if r.pack.Documents[i].Key == key {
			return r.pack.Documents[i].Text
		}
	}
	return key
}

// group reads the name of a group, and the legs that are in it in every row.
func (r *packReader) group(n ast.Node) {
	var g Group
	r.fields(n, "a group", []string{"id", "name"}, func(key string, _ pos, v ast.Node) bool {
		switch key {
		case "id":
			g.ID = r.text(v, key)
		case "name":
			g.Name = r.text(v, key)
		case "legs":
			for _, w := range r.texts(v, key) {
				if _, err := parseLeg(w.text); err != nil {
					r.fail(w.at, "%v", err)
				}
				r.legGroups[w.text] = g.ID
			}
		default:
			return false
		}
		return true
	})
	if g.ID != "" && slices.ContainsFunc(r.pack.Groups, func(o Group) bool { return o.ID == g.ID }) {
		r.fail(nodePos(n), "group %q is there already", g.ID)
	}
	r.pack.Groups = append(r.pack.Groups, g)
}

// path reads a data path, or the changes to a path that the pack inherits.
func (r *packReader) path(n ast.Node) {
	d := DataPath{Version: r.pack.Version, Documents: r.source, Confidence: r.confidence}
	at, seen := nodePos(n), map[string]bool{}
	before := len(r.mistakes)
	// The id comes first: it tells whether there is a path to change.
	inherited := -1
	if id := idOf(n); id != "" && r.extension != nil {
		if inherited = slices.IndexFunc(r.pack.Paths, func(o DataPath) bool { return o.ID == id }); inherited >= 0 && r.extension.patched[id] {
			inherited = -1 // told as a second path of that id
		}
		if inherited >= 0 {
			d = r.pack.Paths[inherited]
			r.extension.patched[id] = true
		}
	}
	var legs ast.Node
	var group word
	cap := ""
	r.each(n, "a path", func(key string, kat pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "id":
			d.ID = r.text(v, key)
			at = kat
			if v != nil {
				at = nodePos(v)
			}
		case "group":
			if d.Group = r.text(v, key); d.Group != "" {
				group = word{d.Group, nodePos(v)}
			}
		case "max_confidence":
			cap = r.one(v, key, capWords)
		case "legs":
			legs = v
		default:
			return r.column(&d, key, v)
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return // no mapping at all
	}
	if inherited < 0 {
		for _, key := range []string{"id", "name", "from", "to", "legs"} {
			if !seen[key] {
				r.fail(at, "the path has no %q", key)
			}
		}
	}
	if len(d.Documents) == 0 && !seen["source"] {
		r.fail(at, "the path has no %q", "source")
	}
	if d.Confidence == "" && !seen["confidence"] {
		r.fail(at, "the path has no %q", "confidence")
	}
	if d.ID != "" && r.pack.Version != "" && !strings.HasPrefix(d.ID, idPrefix(r.pack.Version)) {
		r.fail(at, "the id %q must begin with %q", d.ID, idPrefix(r.pack.Version))
	}
	d.Source = strings.Join(d.Documents, "; ")
	d.NotUsed = d.Table == "not-used"
	if group.text != "" {
		r.groups = append(r.groups, group)
	} else if inherited < 0 {
		d.Group = d.ID
	}
	if legs != nil {
		d.Legs = r.legs(legs, "legs")
		r.bareLegs(!d.Conditions.UnannouncedUndetermined)
		if s, ok := legs.(*ast.SequenceNode); ok && len(s.Values) == 0 {
			r.fail(nodePos(legs), "legs is empty")
		}
		if !seen["ports"] {
			d.Ports = legTexts(d.Legs)
		}
	}
	if legs != nil || group.text != "" || cap != "" {
		d.Legs = slices.Clone(d.Legs)
		for i := range d.Legs {
			l := &d.Legs[i]
			if legs == nil && l.Group == r.oldGroup(inherited) || l.Group == "" {
				l.Group = d.Group
			}
			if cap != "" {
				l.MaxConfidence = cap
			}
		}
	}
	if inherited >= 0 {
		r.pack.Paths[inherited], r.pathPos[inherited] = d, at
		return
	}
	r.pack.Paths = append(r.pack.Paths, d)
	r.pathPos = append(r.pathPos, at)
}

func (r *packReader) oldGroup(inherited int) string {
	if inherited < 0 {
		return ""
	}
	return r.pack.Paths[inherited].Group
}

// column reads one of the columns of a path, and reports whether it is one.
func (r *packReader) column(d *DataPath, key string, v ast.Node) bool {
	switch key {
	case "name":
		d.Name = r.text(v, key)
	case "table":
		d.Table = r.text(v, key)
	case "from":
		d.From = r.roles(v, key, ofPath)
	case "to":
		d.To = r.roles(v, key, ofPath)
	case "one_end":
		d.OneEnd = r.roles(v, key, ofServer)
	case "external":
		d.External = r.flag(v, key)
	case "local":
		d.Local = r.flag(v, key)
	case "conditions":
		d.Conditions = r.conditions(v)
	case "ports":
		d.Ports = r.text(v, key)
	case "default_auth":
		d.DefaultAuth = r.some(v, key, authWords)
	case "supported_auth":
		d.SupportedAuth = r.some(v, key, authWords)
	case "encryption":
		d.Encryption = r.some(v, key, encryptionWords)
	case "by_default":
		d.ByDefault = r.one(v, key, byDefaultWords)
	case "note":
		d.Note = r.text(v, key)
	case "source":
		d.Documents = r.sources(v, key)
	case "confidence":
		d.Confidence = r.one(v, key, confidenceWords)
	case "firewall_rules":
		d.FirewallRules = plainTexts(r.texts(v, key))
	default:
		return false
	}
	return true
}

// conditions reads what narrows a path.
func (r *packReader) conditions(n ast.Node) Conditions {
	var c Conditions
	if n == nil {
		return c
	}
	empty := true
	r.each(n, "conditions", func(key string, _ pos, v ast.Node) bool {
		empty = false
		switch key {
		case "not_from":
			c.NotFrom = r.roles(v, key, ofServer)
		case "not_to":
			c.NotTo = r.roles(v, key, ofServer)
		case "no_pipe":
			c.NoPipe = r.flag(v, key)
		case "names_decide":
			c.NamesDecide = r.flag(v, key)
		case "http_methods":
			c.Methods = plainTexts(r.words(v, key))
		case "unannounced":
			r.one(v, key, []string{"undetermined"})
			c.UnannouncedUndetermined = true
		default:
			return false
		}
		return true
	})
	if empty && n.Type() == ast.MappingType {
		r.fail(nodePos(n), "conditions is empty")
	}
	return c
}

// idOf returns the id of a path, or "".
func idOf(n ast.Node) (id string) {
	(&reader{}).each(n, "", func(key string, _ pos, v ast.Node) bool {
		if key == "id" && v != nil {
			id, _ = plain(v)
		}
		return true
	})
	return id
}

// idPrefix returns what the ids of a version begin with.
func idPrefix(version string) string { return strings.ToLower(version) + "." }

func legTexts(legs []Leg) string {
	list := make([]string, len(legs))
	for i := range legs {
		list[i] = legs[i].Text
	}
	return strings.Join(list, ";")
}

// legs reads a list of legs. An item is a leg, as a text or as a mapping, or the
// name of a leg set.
func (r *packReader) legs(n ast.Node, what string) []Leg {
	var list []Leg
	r.items(n, what, func(v ast.Node) {
		if s, ok := plain(v); ok {
			if strings.Contains(s, "/") {
				list = append(list, r.legText(s, nodePos(v)))
				return
			}
			set, ok := r.legSets[s]
			if !ok {
				r.fail(nodePos(v), "unknown leg set %q", s)
			}
			r.setUse[s] = true
			list = append(list, set...)
			return
		}
		list = append(list, r.leg(v))
	})
	return list
}

// legText reads a leg that is a text.
func (r *packReader) legText(s string, at pos) Leg {
	l, err := parseLeg(s)
	if err != nil {
		r.fail(at, "%v", err)
	}
	for _, f := range l.Facts {
		if f.Name == "rpc.interface" {
			for _, name := range f.Values {
				r.used = append(r.used, word{name, at})
			}
		}
	}
	l.Group = r.legGroups[s]
	if l.Port.Dynamic && l.Protocol == "" {
		r.bare = append(r.bare, at)
	}
	return l
}

// bareLegs takes the legs that name nothing but a dynamic port, and reports them
// where they are a mistake.
func (r *packReader) bareLegs(mistake bool) {
	for _, at := range r.bare {
		if mistake {
			r.fail(at, "a dynamic port matches every flow: the leg needs a protocol or facts")
		}
	}
	r.bare = r.bare[:0]
}

// leg reads a leg that is a mapping.
func (r *packReader) leg(n ast.Node) Leg {
	var l Leg
	port, text := false, false
	before := len(r.mistakes)
	r.each(n, "a leg", func(key string, at pos, v ast.Node) bool {
		switch key {
		case "leg":
			text = true
			if s := r.text(v, key); s != "" {
				l = r.legText(s, nodePos(v))
			}
		case "reverse":
			l.Reverse = r.flag(v, key)
		case "content_only":
			l.ContentOnly = r.flag(v, key)
		case "auth":
			l.Auth = r.one(v, "auth of a leg", []string{NotApplicable})
		case "encryption":
			l.Encryption = r.one(v, "encryption of a leg", []string{NotApplicable})
		case "max_confidence":
			l.MaxConfidence = r.one(v, key, capWords)
		case "group":
			if l.Group = r.text(v, key); l.Group != "" {
				r.groups = append(r.groups, word{l.Group, nodePos(v)})
			}
		case "site_port":
			l.SitePort = r.one(v, key, sitePortWords)
		case "port":
			port = true
			return r.match(&l.Match, key, v)
		default:
			return r.match(&l.Match, key, v)
		}
		return true
	})
	if !text {
		l.Text = l.Port.String()
		if l.Protocol != "" {
			l.Text += " " + l.Protocol
		}
	}
	switch {
	case len(r.mistakes) > before:
	case !port && !text:
		r.fail(nodePos(n), "the leg matches nothing: it has no port")
	case !text && l.Port.Dynamic && l.Protocol == "" && len(l.Facts) == 0:
		r.fail(nodePos(n), "a dynamic port matches every flow: the leg needs a protocol or facts")
	}
	return l
}

// match reads one key of a Match and reports whether it is one.
func (r *packReader) match(m *Match, key string, v ast.Node) bool {
	switch key {
	case "port":
		if s := r.text(v, key); s != "" {
			port, err := ParsePort(s)
			if err != nil {
				r.fail(nodePos(v), "%v", err)
			}
			m.Port = port
		}
	case "protocol":
		m.Protocol = r.text(v, key)
		if m.Protocol != strings.ToLower(m.Protocol) {
			r.fail(nodePos(v), "protocol %q must be in lower case", m.Protocol)
		}
	case "inside":
		m.Inside = r.text(v, key)
	case "facts":
		m.Facts = append(m.Facts, r.facts(v, key)...)
		sortFacts(m.Facts)
	case "either":
		m.Either = r.facts(v, key)
	default:
		return false
	}
	return true
}

// facts reads attributes with their values.
func (r *packReader) facts(n ast.Node, what string) []Fact {
	if n == nil {
		return nil
	}
	var list []Fact
	empty := true
	r.each(n, what, func(name string, at pos, v ast.Node) bool {
		empty = false
		words := r.texts(v, name)
		if name == "rpc.interface" {
			r.used = append(r.used, words...)
		}
		list = append(list, Fact{name, plainTexts(words)})
		return true
	})
	if empty && n.Type() == ast.MappingType {
		r.fail(nodePos(n), "%s is empty", what)
	}
	sortFacts(list)
	return list
}

func sortFacts(list []Fact) {
	slices.SortStableFunc(list, func(a, b Fact) int { return strings.Compare(a.Name, b.Name) })
}

func (r *packReader) iface(n ast.Node) {
	f := Interface{Source: strings.Join(r.source, "; "), Confidence: r.confidence}
	at := nodePos(n)
	before, seen := len(r.mistakes), map[string]bool{}
	r.each(n, "an interface", func(key string, kat pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "name":
			f.Name = r.text(v, key)
			if v != nil {
				at = nodePos(v)
			}
			if f.Name != strings.ToLower(f.Name) || strings.ContainsAny(f.Name, " *|,") || f.Name == Unnamed {
				r.fail(at, "%q is no interface name: one word in lower case", f.Name)
			}
		case "uuid":
			f.UUID = r.text(v, key)
			if f.UUID != "" && !validUUID(f.UUID) {
				r.fail(nodePos(v), "%q is no UUID in lower case", f.UUID)
			}
		case "version":
			f.Version = r.text(v, key)
			for _, w := range r.words(v, key) {
				if w.text != "?" && !validVersion(w.text) {
					r.fail(w.at, "%q is no interface version: major.minor, or ? for any", w.text)
				}
			}
		case "title":
			f.Title = r.text(v, key)
		case "service":
			f.Service = r.text(v, key)
		case "use":
			f.Use = r.text(v, key)
		case "source":
			f.Source = r.text(v, key)
		case "confidence":
			f.Confidence = r.one(v, key, confidenceWords)
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return
	}
	for _, key := range []string{"name", "uuid", "version", "title"} {
		if !seen[key] {
			r.fail(at, "the interface has no %q", key)
		}
	}
	for _, k := range []struct{ name, value string }{{"source", f.Source}, {"confidence", f.Confidence}} {
		if k.value == "" && !seen[k.name] {
			r.fail(at, "the interface has no %q", k.name)
		}
	}
	r.pack.Interfaces = append(r.pack.Interfaces, f)
	r.ifacePos = append(r.ifacePos, at)
}

func validUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}

func validVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	if !ok {
		return false
	}
	for _, n := range []string{major, minor} {
		if v, err := strconv.ParseUint(n, 10, 16); err != nil || strconv.FormatUint(v, 10) != n {
			return false
		}
	}
	return true
}
