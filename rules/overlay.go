package rules

import (
	"io/fs"
	"slices"
)

// EmbeddedWith returns the built-in packs overlaid with the named packs of fsys. A data
// path or interface with a known name replaces the built-in one, and a policy replaces
// the built-in policy. New ones and evidence are added. If two of the named packs define
// the same name, the later one wins. The error is like that of Load.
func EmbeddedWith(fsys fs.FS, names ...string) (*Packs, error) {
	if len(names) == 0 {
		return Embedded()
	}
	readers, err := readPacks(fsys, names)
	if err != nil {
		return nil, err
	}
	complete(readers, builtin)
	base := slices.Clone(builtin)
	for i, r := range readers {
		reportDuplicates([]*packReader{r})
		base = overlay(base, r)
		for _, earlier := range readers[:i] {
			earlier.without(r)
		}
	}
	return join(base, readers)
}

// overlay lays one pack over others. It replaces the paths and interfaces that both have,
// and moves new paths to the pack of their version, so each version has one pack.
func overlay(base []*Pack, r *packReader) []*Pack {
	base = slices.Clone(base)
	for i, b := range base {
		same := func(old Interface) bool {
			return slices.ContainsFunc(r.pack.Interfaces, func(f Interface) bool {
				return old.Name == f.Name || old.UUID == f.UUID && old.Version == f.Version
			})
		}
		paths := b.Version == r.pack.Version && len(b.Paths) > 0 && len(r.pack.Paths) > 0
		policy := b.Policy != nil && r.pack.Policy != nil
		if !paths && !policy && !slices.ContainsFunc(b.Interfaces, same) {
			continue
		}
		merged := *b // built-in packs must not be modified
		if policy {
			merged.Policy = nil
		}
		merged.Interfaces = slices.DeleteFunc(slices.Clone(b.Interfaces), same)
		if paths {
			merged.Paths = slices.Clone(b.Paths)
			for _, d := range r.pack.Paths {
				if j := slices.IndexFunc(merged.Paths, func(old DataPath) bool { return old.ID == d.ID }); j >= 0 {
					merged.Paths[j] = d
				} else {
					merged.Paths = append(merged.Paths, d)
				}
			}
			r.pack.Paths, r.pathPos = nil, nil
		}
		base[i] = &merged
	}
	return base
}

// without drops what a later pack also defines.
func (r *packReader) without(later *packReader) {
	for i := len(r.pack.Interfaces) - 1; i >= 0; i-- {
		old := r.pack.Interfaces[i]
		if slices.ContainsFunc(later.pack.Interfaces, func(f Interface) bool {
			return old.Name == f.Name || old.UUID == f.UUID && old.Version == f.Version
		}) {
			r.pack.Interfaces = slices.Delete(r.pack.Interfaces, i, i+1)
			r.ifacePos = slices.Delete(r.ifacePos, i, i+1)
		}
	}
}
