package rules

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// extension describes how a pack extends another one: the paths that it inherits and the
// changes to all of them.
type extension struct {
	base word
	// ends maps a role of the base pack to its replacement in From and To.
	ends map[Role][]Role
	// note and document are added to the inherited paths. confidence is their maximum
	// confidence.
	note, document, confidence string
	without                    []word
	paths                      ast.Node
	patched                    map[string]bool
}

// extends reads the keys of a pack that extends another one.
func (r *packReader) extends(late map[string]ast.Node) {
	if late["extends"] == nil {
		for _, key := range []string{"ends", "append", "without"} {
			if v := late[key]; v != nil {
				r.fail(nodePos(v), "%s is for a pack that extends another", key)
			}
		}
		return
	}
	x := &extension{base: word{r.text(late["extends"], "extends"), nodePos(late["extends"])}, ends: map[Role][]Role{},
		paths: late["paths"], patched: map[string]bool{}}
	if v := late["ends"]; v != nil {
		r.each(v, "ends", func(key string, at pos, v ast.Node) bool {
			if role, ok := r.role(word{key, at}, ofServer); ok {
				x.ends[role] = r.roles(v, key, ofServer)
			}
			return true
		})
	}
	if v := late["append"]; v != nil {
		r.each(v, "append", func(key string, _ pos, v ast.Node) bool {
			switch key {
			case "note":
				x.note = r.text(v, key)
			case "source":
				x.document = r.document(r.text(v, key))
			case "confidence":
				x.confidence = r.oneWord(v, key, confidenceWords)
			default:
				return false
			}
			return true
		})
	}
	x.without = r.texts(late["without"], "without")
	r.extension = x
}

// complete reads the paths of packs that extend others, each after the pack that it
// extends. more holds further packs that may be extended.
func complete(readers []*packReader, more []*Pack) {
	done := func(r *packReader) bool { return r.extension == nil || r.extension.patched == nil }
	for range readers { // no chain is longer than that
		for _, r := range readers {
			if done(r) {
				continue
			}
			name := r.extension.base.text
			if i := slices.IndexFunc(readers, func(b *packReader) bool { return b != r && b.pack.Name == name }); i >= 0 {
				if done(readers[i]) {
					r.inherit(&readers[i].pack)
				}
			} else if i := slices.IndexFunc(more, func(p *Pack) bool { return p.Name == name }); i >= 0 {
				r.inherit(more[i])
			}
		}
	}
	for _, r := range readers {
		if done(r) {
			continue
		}
		if r.extension.base.text != "" {
			r.fail(r.extension.base.at, "there is no pack %q to extend", r.extension.base.text)
		}
		r.extension.patched = nil
	}
}

// inherit copies the paths and groups of a complete pack and reads the pack's own ones.
func (r *packReader) inherit(base *Pack) {
	x := r.extension
	if base.Version == "" || r.pack.Version == "" {
		r.fail(x.base.at, "the pack %q has no version", base.Name)
		x.patched = nil
		return
	}
	old, prefix := idPrefix(base.Version), idPrefix(r.pack.Version)
	renamed := func(id string) string {
		if rest, ok := strings.CutPrefix(id, old); ok {
			return prefix + rest
		}
		return id
	}
	for _, g := range base.Groups {
		g.ID = renamed(g.ID)
		if !slices.ContainsFunc(r.pack.Groups, func(o Group) bool { return o.ID == g.ID }) {
			r.pack.Groups = append(r.pack.Groups, g)
		}
	}
	// A key can name different documents in base and in this pack.
	documents := map[string]string{}
	for _, d := range base.Documents {
		if text := r.document(d.Key); text != d.Key {
			documents[d.Text] = text
		} else {
			r.pack.Documents = append(r.pack.Documents, d)
		}
	}
	out := map[string]bool{}
	for _, w := range x.without {
		if out[w.text] = true; !slices.ContainsFunc(base.Paths, func(d DataPath) bool { return d.ID == w.text }) {
			r.fail(w.at, "the pack %q has no path %q", base.Name, w.text)
		}
	}
	for i := range base.Paths {
		d := base.Paths[i]
		if out[d.ID] {
			continue
		}
		d.ID, d.Version, d.Group = renamed(d.ID), r.pack.Version, renamed(d.Group)
		d.From, d.To = x.roles(d.From), x.roles(d.To)
		d.Legs = slices.Clone(d.Legs)
		for j := range d.Legs {
			d.Legs[j].Group = renamed(d.Legs[j].Group)
		}
		d.Documents = slices.Clone(d.Documents)
		for j, text := range d.Documents {
			if other, ok := documents[text]; ok {
				d.Documents[j] = other
			}
		}
		d.Note = strings.ReplaceAll(d.Note, old, prefix)
		if x.note != "" {
			d.Note = strings.TrimPrefix(d.Note+"; "+x.note, "; ")
		}
		if x.document != "" {
			d.Documents = append(d.Documents, x.document)
		}
		if slices.Index(confidenceWords, x.confidence) > slices.Index(confidenceWords, d.Confidence) {
			d.Confidence = x.confidence
		}
		d.Source = strings.Join(d.Documents, "; ")
		r.pack.Paths = append(r.pack.Paths, d)
		r.pathPos = append(r.pathPos, x.base.at)
	}
	r.items(x.paths, "paths", r.path)
	x.patched = nil
}

// roles replaces roles according to the extension.
func (x *extension) roles(list []Role) []Role {
	var out []Role
	for _, role := range list {
		others := x.ends[role]
		if others == nil {
			others = []Role{role}
		}
		for _, o := range others {
			if !slices.Contains(out, o) {
				out = append(out, o)
			}
		}
	}
	return out
}
