package rules

import (
	"io/fs"
	"slices"
)

// EmbeddedWith returns the built-in packs with the named packs of fsys laid
// over them: a data path or an interface with a known name takes the other's
// place, new ones and evidence are added. Where two of the named packs have the
// same, the later one counts. The error is as that of Load.
func EmbeddedWith(fsys fs.FS, names ...string) (*Packs, error) {
	if len(names) == 0 {
		return Embedded()
	}
	files, err := fs.Glob(embedded, "packs/*.yaml")
	if err != nil {
		return nil, err
	}
	base, err := readPacks(embedded, files)
	if err != nil {
		return nil, err
	}
	extra, err := readPacks(fsys, names)
	if err != nil {
		return nil, err
	}
	for _, r := range extra {
		base = overlay(base, r)
	}
	return join(base)
}

// overlay lays one pack over others. Its paths move into the pack of its
// version, so that there is one pack a version.
func overlay(base []*packReader, r *packReader) []*packReader {
	for _, f := range r.pack.Interfaces {
		for _, b := range base {
			for i := len(b.pack.Interfaces) - 1; i >= 0; i-- {
				if old := b.pack.Interfaces[i]; old.Name == f.Name || old.UUID == f.UUID && old.Version == f.Version {
					b.pack.Interfaces = slices.Delete(b.pack.Interfaces, i, i+1)
					b.ifacePos = slices.Delete(b.ifacePos, i, i+1)
				}
			}
		}
	}
	same := slices.IndexFunc(base, func(b *packReader) bool { return b.pack.Version == r.pack.Version && len(b.pack.Paths) > 0 })
	if same >= 0 && len(r.pack.Paths) > 0 {
		b := base[same]
		for i, d := range r.pack.Paths {
			if j := slices.IndexFunc(b.pack.Paths, func(old DataPath) bool { return old.ID == d.ID }); j >= 0 {
				b.pack.Paths[j], b.pathPos[j] = d, r.pathPos[i]
			} else {
				b.pack.Paths, b.pathPos = append(b.pack.Paths, d), append(b.pathPos, r.pathPos[i])
			}
		}
		// A group may have its other members in the pack below.
		for group := range r.groupUse {
			r.groupUse[group] += b.groupUse[group]
		}
		r.pack.Paths, r.pathPos = nil, nil
	}
	return append(base, r)
}
