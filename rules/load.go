package rules

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"
)

//go:embed packs/*.yaml
var embedded embed.FS

// The closed lists of words.
var (
	roles = []Role{
		Hub, Edge, Mailbox, MailboxLegacy, CAS, UM, DC, GC, ADRMS, Client, Admin, Backup, PBX, OCS, LB, Relay, Internet, DNS,
		Witness, ExchangeOnline, Any,
	}
	// versions are those of Exchange, by the year in their names; 5.5 had none.
	versions = []string{"5.5", "2000", "2003", "2007", "2010", "2013", "2016", "2019", "SE"}
	// authWords and encryptionWords are the words of the references' columns.
	authWords = []string{
		"anonymous", "basic", "certificate", "digest", "direct-trust", "forms", "ip-address", "kerberos", "mtls", "negotiate",
		"none", "ntlm", "ntlmv2", "plain", "spnego", "user-pass",
	}
	encryptionWords = []string{
		"https", "ipsec", "kerberos", "ldaps", "net.tcp", "no", "rpc", "sip-tls", "smb3", "srtp", "ssl", "tls", "yes",
	}
	byDefaultWords  = []string{"yes", "no"}
	confidenceWords = []string{"high", "medium", "low"}
	capWords        = []string{"port", "pattern"}
	sitePortWords   = []string{"log_shipping_port"}
)

// Roles returns the closed list of roles, Any last.
func Roles() []Role { return slices.Clone(roles) }

// Versions returns the closed list of Exchange versions, oldest first.
func Versions() []string { return slices.Clone(versions) }

// Packs is a set of loaded packs. It is not changed after Load, and safe for use
// by several goroutines.
type Packs struct {
	packs []*Pack
	paths map[string]*DataPath
	names map[ifaceKey]string // by UUID and version
	any   map[string]string   // by UUID, for version "?"
	iface map[string]*Interface
}

type ifaceKey struct{ uuid, version string }

//go:generate go run ./gen

// Embedded returns the packs that are built in: those without a version (interface
// names and evidence) and those of the versions named, or all when none is. They
// were parsed when the program was built.
func Embedded(version ...string) (*Packs, error) {
	list := slices.Clone(builtin)
	if len(version) > 0 {
		list = slices.DeleteFunc(list, func(k *Pack) bool {
			return k.Version != "" && !slices.ContainsFunc(version, func(s string) bool { return strings.EqualFold(s, k.Version) })
		})
	}
	return arrange(list), nil
}

// EmbeddedVersions returns the versions whose paths are built in, oldest first.
func EmbeddedVersions() []string { return arrange(builtin).Versions() }

func packName(file string) string { return strings.TrimSuffix(path.Base(file), ".yaml") }

// Load reads the named packs from fsys, or every *.yaml file in its root when none
// is named. The error is Mistakes, all of them, or what reading a file gave.
func Load(fsys fs.FS, names ...string) (*Packs, error) {
	if len(names) == 0 {
		var err error
		if names, err = fs.Glob(fsys, "*.yaml"); err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, errors.New("no *.yaml file there")
		}
	}
	readers, err := readPacks(fsys, names)
	if err != nil {
		return nil, err
	}
	return join(readers)
}

// Check reads one pack, together with the packs without a version that are built
// in, or one site file; the keys tell which it is. The error is as that of Load and
// LoadSite.
func Check(name string, data []byte) error {
	r := &packReader{reader: reader{file: name}}
	body := r.parse(data)
	if body == nil {
		return r.sorted()
	}
	site := false
	(&reader{}).each(body, "", func(key string, _ pos, _ ast.Node) bool {
		site = site || slices.Contains([]string{"exchange", "servers", "networks", "log_shipping_port", "allow"}, key)
		return true
	})
	if site {
		_, err := LoadSite(name, data)
		return err
	}
	names, err := fs.Glob(embedded, "packs/*.yaml")
	if err != nil {
		return err
	}
	readers, err := readPacks(embedded, slices.DeleteFunc(names, func(n string) bool {
		// The name of a pack with a version is "exchange" and the version.
		v, bound := strings.CutPrefix(packName(n), "exchange")
		return bound && v != "" || path.Base(n) == path.Base(name)
	}))
	if err != nil {
		return err
	}
	r.readBody(body)
	_, err = join(append(readers, r))
	return err
}

// readPacks reads files, each by itself and all at the same time.
func readPacks(fsys fs.FS, names []string) ([]*packReader, error) {
	readers, errs := make([]*packReader, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		r := &packReader{reader: reader{file: name}}
		readers[i] = r
		wg.Go(func() {
			var data []byte
			if data, errs[i] = fs.ReadFile(fsys, name); errs[i] == nil {
				r.read(data)
			}
		})
	}
	wg.Wait()
	return readers, errors.Join(errs...)
}

// join makes one set of the packs read, checking what holds between them.
func join(readers []*packReader) (*Packs, error) {
	// Paths are matched in pack order, so packs go by version, then by name.
	slices.SortStableFunc(readers, func(a, b *packReader) int {
		return cmp.Or(cmp.Compare(slices.Index(versions, a.pack.Version), slices.Index(versions, b.pack.Version)),
			cmp.Compare(a.file, b.file))
	})
	packs := make([]*Pack, len(readers))
	for i, r := range readers {
		packs[i] = &r.pack
	}
	p := arrange(packs)
	type place struct {
		file string
		at   pos
	}
	pathAt, nameAt, uuidAt := map[string]place{}, map[string]place{}, map[ifaceKey]place{}
	for _, r := range readers {
		for i := range r.pack.Paths {
			d := &r.pack.Paths[i]
			if old, ok := pathAt[d.ID]; ok {
				r.fail(r.pathPos[i], "path %q is there already, at %s:%d", d.ID, old.file, old.at.line)
				continue
			}
			pathAt[d.ID] = place{r.file, r.pathPos[i]}
		}
		for i := range r.pack.Interfaces {
			f := &r.pack.Interfaces[i]
			if old, ok := nameAt[f.Name]; ok {
				r.fail(r.ifacePos[i], "interface name %q is there already, at %s:%d", f.Name, old.file, old.at.line)
				continue
			}
			nameAt[f.Name] = place{r.file, r.ifacePos[i]}
			for v := range strings.SplitSeq(f.Version, "|") {
				k := ifaceKey{f.UUID, v}
				if old, ok := uuidAt[k]; ok {
					r.fail(r.ifacePos[i], "interface %s v%s is there already, at %s:%d", f.UUID, v, old.file, old.at.line)
					continue
				}
				uuidAt[k] = place{r.file, r.ifacePos[i]}
			}
		}
	}
	var all Mistakes
	for _, r := range readers {
		// A name that a leg asks for and no pack has is a misprint that would never
		// match. A pack loaded by itself may use names of others.
		if len(readers) > 1 {
			for _, u := range r.used {
				if p.iface[u.text] == nil && u.text != Unnamed && !strings.Contains(u.text, "*") {
					r.fail(u.at, "no pack names an interface %q", u.text)
				}
			}
		}
		for _, g := range r.groups {
			if p.paths[g.text] == nil && r.groupUse[g.text] < 2 {
				r.fail(g.at, "group %q names no path and has no other member", g.text)
			}
		}
		for _, s := range r.sets {
			if !r.setUse[s.text] {
				r.fail(s.at, "leg set %q is used by no path", s.text)
			}
		}
		all = append(all, r.sorted()...)
	}
	if len(all) > 0 {
		return nil, all
	}
	return p, nil
}

// arrange makes one set of packs that are in order.
func arrange(packs []*Pack) *Packs {
	p := &Packs{
		packs: packs,
		paths: map[string]*DataPath{},
		names: map[ifaceKey]string{},
		any:   map[string]string{},
		iface: map[string]*Interface{},
	}
	for _, k := range packs {
		for i := range k.Paths {
			p.paths[k.Paths[i].ID] = &k.Paths[i]
		}
		for i := range k.Interfaces {
			f := &k.Interfaces[i]
			p.iface[f.Name] = f
			for v := range strings.SplitSeq(f.Version, "|") {
				if v == "?" {
					p.any[f.UUID] = f.Name
				} else {
					p.names[ifaceKey{f.UUID, v}] = f.Name
				}
			}
		}
	}
	return p
}

// All returns the packs: those without a version first, then by version.
func (p *Packs) All() []*Pack { return p.packs }

// Path returns the data path with the id, or nil.
func (p *Packs) Path(id string) *DataPath { return p.paths[id] }

// Paths returns the data paths of a version in pack order.
func (p *Packs) Paths(version string) []*DataPath {
	var list []*DataPath
	for _, k := range p.packs {
		if k.Version == version && version != "" {
			for i := range k.Paths {
				list = append(list, &k.Paths[i])
			}
		}
	}
	return list
}

// Versions returns the versions that there are paths of, oldest first.
func (p *Packs) Versions() []string {
	var list []string
	for _, k := range p.packs {
		if k.Version != "" && len(k.Paths) > 0 && !slices.Contains(list, k.Version) {
			list = append(list, k.Version)
		}
	}
	return list
}

// InterfaceName returns the short name of an RPC interface. The UUID is in lower
// case, the version "major.minor" in decimal.
func (p *Packs) InterfaceName(uuid, version string) (name string, ok bool) {
	if name, ok = p.names[ifaceKey{uuid, version}]; !ok {
		name, ok = p.any[uuid]
	}
	return name, ok
}

// Interface returns the interface with the short name.
func (p *Packs) Interface(name string) (Interface, bool) {
	if f := p.iface[name]; f != nil {
		return *f, true
	}
	return Interface{}, false
}

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
	// source and confidence stand for paths and interfaces that give none.
	source, confidence string
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
	var sets, paths, interfaces, evidence, local, policy ast.Node
	var pathsAt pos
	r.each(body, "a pack", func(key string, at pos, v ast.Node) bool {
		switch key {
		case "version":
			r.pack.Version = r.one(v, "version", versions)
		case "source":
			r.source = r.text(v, "source")
		case "confidence":
			r.confidence = r.one(v, "confidence", confidenceWords)
		case "leg_sets":
			sets = v
		case "paths":
			paths, pathsAt = v, at
		case "interfaces":
			interfaces = v
		case "evidence":
			evidence = v
		case "local_only":
			local = v
		case "policy":
			policy = v
		default:
			return false
		}
		return true
	})
	if sets != nil {
		r.each(sets, "leg_sets", func(key string, at pos, v ast.Node) bool {
			if v == nil {
				return true
			}
			r.legSets[key] = r.legs(v, "leg set "+strconv.Quote(key))
			r.sets = append(r.sets, word{key, at})
			return true
		})
	}
	if paths != nil {
		if r.pack.Version == "" {
			r.fail(pathsAt, "a pack with paths needs a version")
		}
		r.items(paths, "paths", r.path)
	}
	r.items(interfaces, "interfaces", r.iface)
	r.items(evidence, "evidence", r.evidence)
	r.items(local, "local_only", r.local)
	if policy != nil {
		r.policy(policy)
	}
}

// one returns the text of n if it is one of the words.
func (r *reader) one(n ast.Node, what string, words []string) string {
	if n == nil {
		return ""
	}
	s := r.text(n, what)
	if s != "" && !slices.Contains(words, s) {
		r.fail(nodePos(n), "unknown %s %q (one of %s)", what, s, strings.Join(words, ", "))
		return ""
	}
	return s
}

// some returns the alternatives of n that are among the words.
func (r *reader) some(n ast.Node, what string, words []string) []string {
	var list []string
	for _, w := range r.words(n, what) {
		if !slices.Contains(words, w.text) {
			r.fail(w.at, "unknown %s %q (of %s)", what, w.text, strings.Join(words, ", "))
			continue
		}
		list = append(list, w.text)
	}
	return list
}

func (r *reader) role(w word, anyToo bool) (Role, bool) {
	role := Role(w.text)
	switch {
	case !slices.Contains(roles, role):
		r.fail(w.at, "unknown role %q", w.text)
		return "", false
	case role == Any && !anyToo:
		r.fail(w.at, "no host has the role any; it is for the ends of paths and of allowed flows")
		return "", false
	}
	return role, true
}

func (r *reader) roles(n ast.Node, what string, anyToo bool) []Role {
	var list []Role
	for _, w := range r.words(n, what) {
		if role, ok := r.role(w, anyToo); ok {
			list = append(list, role)
		}
	}
	return list
}

func (r *packReader) path(n ast.Node) {
	d := DataPath{Version: r.pack.Version, Source: r.source, Confidence: r.confidence}
	at, seen := nodePos(n), map[string]bool{}
	before := len(r.mistakes)
	var legs ast.Node
	var group word
	r.each(n, "a path", func(key string, kat pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "id":
			d.ID = r.text(v, key)
			at = kat
			if v != nil {
				at = nodePos(v)
			}
		case "name":
			d.Name = r.text(v, key)
		case "table":
			d.Table = r.text(v, key)
		case "group":
			d.Group = r.text(v, key)
			if d.Group != "" {
				group = word{d.Group, nodePos(v)}
			}
		case "from":
			d.From = r.roles(v, key, true)
		case "to":
			d.To = r.roles(v, key, true)
		case "one_end":
			if w := r.words(v, key); len(w) == 1 {
				d.OneEnd, _ = r.role(w[0], false)
			} else if len(w) > 1 {
				r.fail(w[1].at, "one_end holds one role")
			}
		case "external":
			d.External = r.flag(v, key)
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
			d.Source = r.text(v, key)
		case "confidence":
			d.Confidence = r.one(v, key, confidenceWords)
		case "firewall_rules":
			for _, w := range r.texts(v, key) {
				d.FirewallRules = append(d.FirewallRules, w.text)
			}
		case "legs":
			legs = v
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return // no mapping at all
	}
	for _, key := range []string{"id", "name", "from", "to", "legs"} {
		if !seen[key] {
			r.fail(at, "the path has no %q", key)
		}
	}
	for _, k := range []struct{ name, value string }{{"source", d.Source}, {"confidence", d.Confidence}} {
		if k.value == "" && !seen[k.name] {
			r.fail(at, "the path has no %q", k.name)
		}
	}
	if d.ID != "" && r.pack.Version != "" && !strings.HasPrefix(d.ID, strings.ToLower(r.pack.Version)+".") {
		r.fail(at, "the id %q must begin with %q", d.ID, strings.ToLower(r.pack.Version)+".")
	}
	if d.Group == "" {
		d.Group = d.ID
	} else {
		r.groups = append(r.groups, group)
		r.groupUse[d.Group]++
	}
	inGroup := map[string]bool{d.Group: true}
	if legs != nil {
		d.Legs = r.legs(legs, "legs")
		if s, ok := legs.(*ast.SequenceNode); ok && len(s.Values) == 0 {
			r.fail(nodePos(legs), "legs is empty")
		}
	}
	for i := range d.Legs {
		l := &d.Legs[i]
		if l.Group == "" {
			l.Group = d.Group
		} else if !inGroup[l.Group] {
			inGroup[l.Group] = true
			r.groupUse[l.Group]++
		}
	}
	r.pack.Paths = append(r.pack.Paths, d)
	r.pathPos = append(r.pathPos, at)
}

// legs reads a list of legs. An item is a leg, or the name of a leg set.
func (r *packReader) legs(n ast.Node, what string) []Leg {
	var list []Leg
	r.items(n, what, func(v ast.Node) {
		if name, ok := plain(v); ok {
			set, ok := r.legSets[name]
			if !ok {
				r.fail(nodePos(v), "unknown leg set %q", name)
			}
			r.setUse[name] = true
			list = append(list, set...)
			return
		}
		var l Leg
		seen, port := 0, false
		r.each(v, "a leg", func(key string, at pos, v ast.Node) bool {
			seen++
			switch key {
			case "reverse":
				l.Reverse = r.flag(v, key)
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
		switch {
		case seen > 0 && !port:
			r.fail(nodePos(v), "the leg matches nothing: it has no port")
		case l.Port.Dynamic && l.Protocol == "" && len(l.Facts) == 0:
			r.fail(nodePos(v), "a dynamic port matches every flow: the leg needs a protocol or facts")
		}
		list = append(list, l)
	})
	return list
}

// match reads one key of a Match and says whether it is one.
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
	case "facts":
		if v == nil {
			return true
		}
		m.Facts = map[string][]string{}
		empty := true
		r.each(v, "facts", func(name string, at pos, v ast.Node) bool {
			empty = false
			for _, w := range r.texts(v, name) {
				m.Facts[name] = append(m.Facts[name], w.text)
				if name == "rpc.interface" {
					r.used = append(r.used, w)
				}
			}
			return true
		})
		if empty && v.Type() == ast.MappingType {
			r.fail(nodePos(v), "facts is empty")
		}
	default:
		return false
	}
	return true
}

func (r *packReader) iface(n ast.Node) {
	f := Interface{Source: r.source, Confidence: r.confidence}
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

func (r *packReader) evidence(n ast.Node) {
	var e RoleEvidence
	at := nodePos(n)
	before, seen := len(r.mistakes), map[string]bool{}
	r.each(n, "evidence", func(key string, kat pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "roles":
			e.Roles = r.roles(v, key, false)
		case "end":
			e.End = r.one(v, key, []string{"server", "client"})
		case "any":
			r.items(v, key, func(v ast.Node) {
				var m Match
				ok := true
				r.each(v, "a match", func(key string, at pos, v ast.Node) bool {
					ok = r.match(&m, key, v)
					return ok
				})
				if ok && m.Protocol == "" && len(m.Facts) == 0 {
					r.fail(nodePos(v), "a port number alone proves no role: the match needs a protocol or facts")
				}
				e.Any = append(e.Any, m)
			})
		case "weak":
			e.Weak = r.flag(v, key)
		case "version":
			e.Version = r.one(v, key, versions)
		case "note":
			e.Note = r.text(v, key)
		case "source":
			e.Source = r.text(v, key)
		default:
			return false
		}
		return true
	})
	if len(seen) == 0 && len(r.mistakes) > before {
		return
	}
	for _, key := range []string{"roles", "end", "any", "note", "source"} {
		if !seen[key] {
			r.fail(at, "the evidence has no %q", key)
		}
	}
	if seen["any"] && len(e.Any) == 0 && len(r.mistakes) == before {
		r.fail(at, "the evidence has no %q", "any")
	}
	r.pack.Evidence = append(r.pack.Evidence, e)
}

// local reads a port that is documented for the host itself alone.
func (r *packReader) local(n ast.Node) {
	var l LocalPort
	at := nodePos(n)
	seen := map[string]bool{}
	r.each(n, "a local port", func(key string, _ pos, v ast.Node) bool {
		seen[key] = true
		switch key {
		case "port":
			var m Match
			r.match(&m, key, v)
			if l.Port = m.Port; l.Port.Dynamic {
				r.fail(nodePos(v), "a local port needs a number")
			}
		case "note":
			l.Note = r.text(v, key)
		case "source":
			l.Source = r.text(v, key)
		default:
			return false
		}
		return true
	})
	for _, key := range []string{"port", "note", "source"} {
		if !seen[key] {
			r.fail(at, "the local port has no %q", key)
		}
	}
	r.pack.LocalOnly = append(r.pack.LocalOnly, l)
}

// ParsePort reads a port as packs and site files write it: "25/tcp", "389/tcp+udp",
// "5075-5077/tcp", "dynamic/udp", "6005-59530/tcp dynamic".
func ParsePort(s string) (Port, error) {
	bad := func(why string) (Port, error) {
		return Port{}, fmt.Errorf("bad port %q: %s", s, why)
	}
	var p Port
	rest, dynamic := strings.CutSuffix(s, " dynamic")
	p.Dynamic = dynamic
	numbers, proto, ok := strings.Cut(rest, "/")
	if !ok {
		return bad("no /tcp or /udp")
	}
	switch proto {
	case "tcp":
		p.TCP = true
	case "udp":
		p.UDP = true
	case "tcp+udp":
		p.TCP, p.UDP = true, true
	default:
		return bad("the protocol must be tcp, udp or tcp+udp")
	}
	if numbers == "dynamic" {
		if p.Dynamic {
			return bad("dynamic is there twice")
		}
		p.Dynamic = true
		return p, nil
	}
	first, last, isRange := strings.Cut(numbers, "-")
	if p.From, ok = portNumber(first); !ok {
		return bad("ports are 1 to 65535")
	}
	p.To = p.From
	if isRange {
		if p.To, ok = portNumber(last); !ok {
			return bad("ports are 1 to 65535")
		}
		if p.To < p.From {
			return bad("the range runs backwards")
		}
	}
	return p, nil
}

func portNumber(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// String writes the port as ParsePort reads it.
func (p Port) String() string {
	proto := "tcp"
	if p.UDP {
		proto = "udp"
		if p.TCP {
			proto = "tcp+udp"
		}
	}
	switch {
	case p.From == 0 && p.Dynamic:
		return "dynamic/" + proto
	case p.From == p.To:
		proto = fmt.Sprintf("%d/%s", p.From, proto)
	default:
		proto = fmt.Sprintf("%d-%d/%s", p.From, p.To, proto)
	}
	if p.Dynamic {
		proto += " dynamic"
	}
	return proto
}

// Contains says whether the port number is in the range; without a range every
// number is.
func (p Port) Contains(n uint16) bool { return p.From == 0 || n >= p.From && n <= p.To }

// Fits says whether a value is what a Match asks for: the same without regard to
// the case of ASCII letters, where a "*" at the begin or the end of the pattern
// stands for any text. Unnamed is the caller's to know.
func Fits(pattern, value string) bool {
	if pattern == "*" {
		return value != ""
	}
	rest, head := strings.CutPrefix(pattern, "*")
	rest, tail := strings.CutSuffix(rest, "*")
	switch {
	case head && tail:
		for i := 0; i+len(rest) <= len(value); i++ {
			if strings.EqualFold(value[i:i+len(rest)], rest) {
				return true
			}
		}
		return false
	case tail:
		return len(value) >= len(rest) && strings.EqualFold(value[:len(rest)], rest)
	case head:
		return len(value) >= len(rest) && strings.EqualFold(value[len(value)-len(rest):], rest)
	}
	return strings.EqualFold(value, rest)
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
