package rules

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml/ast"
)

// The closed lists of words.
var (
	roles = []Role{
		Hub, Edge, Mailbox, MailboxLegacy, CAS, UM, DC, GC, ADRMS, Client, Admin, Backup, PBX, OCS, LB, Relay, Internet, DNS,
		Witness, ExchangeOnline, AnyExchange, Any,
	}
	roleWords = func() []string {
		list := make([]string, len(roles))
		for i, r := range roles {
			list[i] = string(r)
		}
		return list
	}()
	// versions lists the versions of Exchange by the year in their names. 5.5 has no
	// year.
	versions = []string{"5.5", "2000", "2003", "2007", "2010", "2013", "2016", "2019", "SE"}
	// ruledVersions lists the versions with data paths. packVersions lists the versions
	// under which packs list them; the paths of 2000 are listed under 2003.
	ruledVersions = []string{"2000", "2003", "2007", "2010", "2013", "2016", "2019", "SE"}
	packVersions  = []string{"5.5", "2003", "2007", "2010", "2013", "2016", "2019", "SE", Platform}
	// buildVersions lists the versions of build numbers and of services.
	buildVersions = []string{"4.0", "5.0", "5.5", "2003", "2007", "2010", "2013", "2016", "2019", "SE", Platform, Online}
	// authWords and encryptionWords list the words in the columns of the references.
	authWords = []string{
		"anonymous", "basic", "certificate", "digest", "direct-trust", "forms", "ip-address", "kerberos", "mtls", "negotiate",
		"none", "ntlm", "ntlmv2", "oauth", "plain", "spnego", "user-pass", "ws-security",
	}
	encryptionWords = []string{
		"https", "ipsec", "kerberos", "ldaps", "net.tcp", "no", "rpc", "sip-tls", "smb3", "srtp", "ssl", "tls", "yes",
	}
	byDefaultWords  = []string{"yes", "no"}
	confidenceWords = []string{"high", "medium", "low"}
	capWords        = []string{"port", "pattern"}
	sitePortWords   = []string{"log_shipping_port"}
)

// Roles returns the closed list of roles. AnyExchange and Any come last.
func Roles() []Role { return slices.Clone(roles) }

// Packs is a set of loaded packs. It does not change after loading and is safe for
// concurrent use.
type Packs struct {
	packs []*Pack
	// The look-up tables are built on first use.
	once  sync.Once
	paths map[string]*DataPath
	names map[ifaceKey]string // by UUID and version
	any   map[string]string   // by UUID, for version "?"
	iface map[string]*Interface
}

type ifaceKey struct{ uuid, version string }

//go:generate go run ./gen

// Embedded returns the built-in packs: those without a version, those of Windows, and
// those of the given versions, or of all versions if none is given. The packs are parsed
// at build time, so a call is cheap.
func Embedded(version ...string) (*Packs, error) {
	list := slices.Clone(builtin)
	if len(version) > 0 {
		list = slices.DeleteFunc(list, func(k *Pack) bool {
			return k.Version != "" && k.Version != Platform &&
				!slices.ContainsFunc(version, func(s string) bool { return strings.EqualFold(packVersion(s), k.Version) })
		})
	}
	return &Packs{packs: list}, nil
}

// EmbeddedVersions returns the versions with built-in paths, oldest first.
func EmbeddedVersions() []string { return (&Packs{packs: builtin}).Versions() }

func packName(file string) string { return strings.TrimSuffix(path.Base(file), ".yaml") }

// Load reads the named packs from fsys, or all *.yaml files in its root if none is named.
// The error is of type Mistakes and holds all mistakes, or it is the error of reading a
// file.
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
	slices.SortStableFunc(readers, func(a, b *packReader) int { return order(&a.pack, &b.pack) })
	complete(readers, nil)
	reportDuplicates(readers)
	return join(nil, readers)
}

// Check reads one pack on top of the built-in packs, or one site file. The keys of the
// file determine which it is. The error is like that of Load and LoadSite.
func Check(name string, data []byte) error {
	r := &packReader{reader: reader{file: name}}
	body := r.parse(data)
	if body == nil {
		return r.sorted()
	}
	site := false
	(&reader{}).each(body, "", func(key string, _ pos, _ ast.Node) bool {
		site = site || slices.Contains(siteKeys, key)
		return true
	})
	if site {
		_, err := LoadSite(name, data)
		return err
	}
	r.readBody(body)
	// A built-in pack is checked without its built-in copy.
	base := slices.DeleteFunc(slices.Clone(builtin), func(k *Pack) bool { return k.Name == r.pack.Name })
	complete([]*packReader{r}, base)
	reportDuplicates([]*packReader{r})
	_, err := join(overlay(base, r), []*packReader{r})
	return err
}

// order compares packs by version, then by name. Paths are matched in pack order.
func order(a, b *Pack) int {
	return cmp.Or(cmp.Compare(slices.Index(versions, a.Version), slices.Index(versions, b.Version)), cmp.Compare(a.Name, b.Name))
}

// readPacks reads the files concurrently.
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

// join combines complete packs with newly read ones and checks the conditions between
// them.
func join(base []*Pack, readers []*packReader) (*Packs, error) {
	packs := slices.Clone(base)
	for _, r := range readers {
		packs = append(packs, &r.pack)
	}
	slices.SortStableFunc(packs, order)
	p := &Packs{packs: packs}
	members := p.members()
	var all Mistakes
	for _, r := range readers {
		// A name that a leg requires and no pack defines is a misprint that would never
		// match. A pack loaded by itself may use names of other packs.
		if len(packs) > 1 {
			for _, u := range r.used {
				if _, ok := p.Interface(u.text); !ok && u.text != Unnamed && !strings.Contains(u.text, "*") {
					r.fail(u.at, "no pack names an interface %q", u.text)
				}
			}
		}
		for _, g := range r.groups {
			if p.Path(g.text) == nil && members[g.text] < 2 {
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

// reportDuplicates reports names that two of the newly read packs define.
func reportDuplicates(readers []*packReader) {
	type place struct {
		file string
		at   pos
	}
	pathAt, nameAt, uuidAt := map[string]place{}, map[string]place{}, map[ifaceKey]place{}
	for _, r := range readers {
		for i := range r.pack.Paths {
			d := &r.pack.Paths[i]
			if old, ok := pathAt[d.ID]; ok {
				r.fail(r.pathPos[i], "path %q is already defined at %s:%d", d.ID, old.file, old.at.line)
				continue
			}
			pathAt[d.ID] = place{r.file, r.pathPos[i]}
		}
		for i := range r.pack.Interfaces {
			f := &r.pack.Interfaces[i]
			if old, ok := nameAt[f.Name]; ok {
				r.fail(r.ifacePos[i], "interface name %q is already defined at %s:%d", f.Name, old.file, old.at.line)
				continue
			}
			nameAt[f.Name] = place{r.file, r.ifacePos[i]}
			for v := range strings.SplitSeq(f.Version, "|") {
				k := ifaceKey{f.UUID, v}
				if old, ok := uuidAt[k]; ok {
					r.fail(r.ifacePos[i], "interface %s v%s is already defined at %s:%d", f.UUID, v, old.file, old.at.line)
					continue
				}
				uuidAt[k] = place{r.file, r.ifacePos[i]}
			}
		}
	}
}

// members counts the paths in each group. A path is in a group by itself or with a leg.
func (p *Packs) members() map[string]int {
	n := map[string]int{}
	for _, k := range p.packs {
		for i := range k.Paths {
			d := &k.Paths[i]
			in := []string{d.Group}
			for j := range d.Legs {
				if !slices.Contains(in, d.Legs[j].Group) {
					in = append(in, d.Legs[j].Group)
				}
			}
			for _, g := range in {
				n[g]++
			}
		}
	}
	return n
}

// buildIndex builds the look-up tables.
func (p *Packs) buildIndex() {
	p.paths, p.names, p.any, p.iface = map[string]*DataPath{}, map[ifaceKey]string{}, map[string]string{}, map[string]*Interface{}
	for _, k := range p.packs {
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
}

// All returns all packs: first those without a version and those of Windows, then the
// others by version.
func (p *Packs) All() []*Pack { return p.packs }

// Path returns the data path with the given id, or nil.
func (p *Packs) Path(id string) *DataPath {
	p.once.Do(p.buildIndex)
	return p.paths[id]
}

// Paths returns the data paths of an Exchange version, or of Platform, in pack order. The
// paths of 2000 are those of 2003.
func (p *Packs) Paths(version string) []*DataPath {
	var list []*DataPath
	for _, k := range p.packs {
		if k.Version == packVersion(version) && version != "" {
			for i := range k.Paths {
				list = append(list, &k.Paths[i])
			}
		}
	}
	return list
}

// Versions returns the Exchange versions with data paths, oldest first.
func (p *Packs) Versions() []string {
	var list []string
	for _, k := range p.packs {
		if k.Version != "" && k.Version != Platform && len(k.Paths) > 0 && !slices.Contains(list, k.Version) {
			list = append(list, k.Version)
		}
	}
	return list
}

// GroupName returns the display name of a group ("HTTPS client access"), or "" if id is
// only the id of a path.
func (p *Packs) GroupName(id string) string {
	for _, k := range p.packs {
		for i := range k.Groups {
			if k.Groups[i].ID == id {
				return k.Groups[i].Name
			}
		}
	}
	return ""
}

// InterfaceName returns the short name of an RPC interface. uuid is in lower case, and
// version is "major.minor" in decimal.
func (p *Packs) InterfaceName(uuid, version string) (name string, ok bool) {
	p.once.Do(p.buildIndex)
	if name, ok = p.names[ifaceKey{uuid, version}]; !ok {
		name, ok = p.any[uuid]
	}
	return name, ok
}

// Interface returns the interface with the given short name.
func (p *Packs) Interface(name string) (Interface, bool) {
	p.once.Do(p.buildIndex)
	if f := p.iface[name]; f != nil {
		return *f, true
	}
	return Interface{}, false
}
