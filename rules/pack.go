package rules

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// packReader reads one pack.
type packReader struct {
	reader
	pack     Pack
	pathPos  []pos
	ifacePos []pos
	used     []word         // interface names in matches
	groups   []word         // groups as written
	groupUse map[string]int // number of paths in a group, by themselves or with a leg
	sets     []word         // names of leg sets
	legSets  map[string][]Leg
	setUse   map[string]bool
	bare     []pos // legs of the current path that specify only a dynamic port
	// legGroups maps the text of a leg to the group of all such legs.
	legGroups map[string]string
	// source and confidence are the defaults for paths and interfaces.
	source     []string
	confidence string
	// extension is set for a pack that extends another one. The paths of such a pack are
	// read when the other pack is complete.
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
	// Read definitions before their uses.
	late := map[string]ast.Node{}
	var pathsAt pos
	r.each(body, "a pack", func(key string, at pos, v ast.Node) bool {
		switch key {
		case "version":
			r.pack.Version = r.oneWord(v, "version", packVersions)
		case "confidence":
			r.confidence = r.oneWord(v, "confidence", confidenceWords)
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

// oneWord returns the text of n if it is one of the words.
func (r *reader) oneWord(n ast.Node, what string, words []string) string {
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

// someWords returns the alternatives of n that are among the words.
func (r *reader) someWords(n ast.Node, what string, words []string) []string {
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

// ends determines which of the two words for several roles are allowed.
type ends int

const (
	ofHost   ends = iota // a role of a host
	ofServer             // also any-exchange
	ofPath               // also any
)

func (r *reader) role(w word, allowed ends) (Role, bool) {
	role := Role(w.text)
	switch {
	case !slices.Contains(roles, role):
		r.fail(w.at, "unknown role %q%s", w.text, guess(w.text, roleWords))
		return "", false
	case role == Any && allowed != ofPath:
		r.fail(w.at, "no host has the role any; it is for the ends of paths and of allowed flows")
		return "", false
	case role == AnyExchange && allowed == ofHost:
		r.fail(w.at, "name the roles of the server; any-exchange is for the ends of paths and of allowed flows")
		return "", false
	}
	return role, true
}

func (r *reader) roles(n ast.Node, what string, allowed ends) []Role {
	var list []Role
	for _, w := range r.words(n, what) {
		if role, ok := r.role(w, allowed); ok {
			list = append(list, role)
		}
	}
	return list
}

// sources returns the documents of a text or of a list. Each item is a key of documents,
// or the name of a document.
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

// group reads the name of a group and the legs that belong to it in all rows.
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
		r.fail(nodePos(n), "group %q is already defined", g.ID)
	}
	r.pack.Groups = append(r.pack.Groups, g)
}

// path reads a data path, or the changes to a path that the pack inherits.
func (r *packReader) path(n ast.Node) {
	d := DataPath{Version: r.pack.Version, Documents: r.source, Confidence: r.confidence}
	at, seen := nodePos(n), map[string]bool{}
	before := len(r.mistakes)
	inherited := r.inherited(n)
	if inherited >= 0 {
		d = r.pack.Paths[inherited]
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
			cap = r.oneWord(v, key, capWords)
		case "legs":
			legs = v
		default:
			return r.column(&d, key, v)
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return // not a mapping
	}
	r.checkPath(&d, at, seen, inherited >= 0)
	d.Source = strings.Join(d.Documents, "; ")
	d.NotUsed = d.Table == "not-used"
	old := d.Group
	if inherited >= 0 {
		old = r.pack.Paths[inherited].Group
	}
	if group.text != "" {
		r.groups = append(r.groups, group)
	} else if inherited < 0 {
		d.Group, old = d.ID, ""
	}
	if legs != nil {
		r.pathLegs(&d, legs, !seen["ports"])
	}
	d.Legs = slices.Clone(d.Legs)
	for i := range d.Legs {
		l := &d.Legs[i]
		if l.Group == "" || legs == nil && l.Group == old {
			l.Group = d.Group
		}
		if cap != "" {
			l.MaxConfidence = cap
		}
	}
	if inherited >= 0 {
		r.pack.Paths[inherited], r.pathPos[inherited] = d, at
		return
	}
	r.pack.Paths = append(r.pack.Paths, d)
	r.pathPos = append(r.pathPos, at)
}

// checkPath reports what a path lacks.
func (r *packReader) checkPath(d *DataPath, at pos, seen map[string]bool, inherited bool) {
	if !inherited {
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
}

// pathLegs reads the legs of a path. ports reports whether they also determine its Ports.
func (r *packReader) pathLegs(d *DataPath, n ast.Node, ports bool) {
	d.Legs = r.legs(n, "legs")
	r.bareLegs(!d.Conditions.UnannouncedUndetermined)
	if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
		r.fail(nodePos(n), "legs is empty")
	}
	if ports {
		d.Ports = legTexts(d.Legs)
	}
}

// column reads a column of a path. It reports whether key is the name of a column.
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
		d.DefaultAuth = r.someWords(v, key, authWords)
	case "supported_auth":
		d.SupportedAuth = r.someWords(v, key, authWords)
	case "encryption":
		d.Encryption = r.someWords(v, key, encryptionWords)
	case "by_default":
		d.ByDefault = r.oneWord(v, key, byDefaultWords)
	case "note":
		d.Note = r.text(v, key)
	case "source":
		d.Documents = r.sources(v, key)
	case "confidence":
		d.Confidence = r.oneWord(v, key, confidenceWords)
	case "firewall_rules":
		d.FirewallRules = plainTexts(r.texts(v, key))
	default:
		return false
	}
	return true
}

// conditions reads the conditions of a path.
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
			r.oneWord(v, key, []string{"undetermined"})
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

// inherited returns the index of the inherited path that a mapping changes, or -1 for a
// path of the pack itself. Each path can be changed once.
func (r *packReader) inherited(n ast.Node) int {
	id := idOf(n)
	if id == "" || r.extension == nil || r.extension.patched[id] {
		return -1
	}
	i := slices.IndexFunc(r.pack.Paths, func(o DataPath) bool { return o.ID == id })
	if i >= 0 {
		r.extension.patched[id] = true
	}
	return i
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

// idPrefix returns the prefix of the ids of a version.
func idPrefix(version string) string { return strings.ToLower(version) + "." }

func legTexts(legs []Leg) string {
	list := make([]string, len(legs))
	for i := range legs {
		list[i] = legs[i].Text
	}
	return strings.Join(list, ";")
}
