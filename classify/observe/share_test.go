package observe

import (
	"slices"
	"testing"
)

func TestFactLists(t *testing.T) {
	lists := NewFactLists()
	var a, b, none Facts
	for _, f := range []*Facts{&a, &b} {
		f.Add(Auth, "negotiate")
		f.Add(Encryption, "tls")
		if f.List() != nil {
			t.Error("a list has a name before it is shared")
		}
		lists.Share(f)
		lists.Share(f)
	}
	lists.Share(&none)
	if a.List() == nil || a.List() != b.List() || none.List() != nil {
		t.Fatal("equal facts share no list")
	}
	was := slices.Clone(b.All())
	a.Remove(Auth, "negotiate")
	a.Add(Auth, "ntlm")
	if !slices.Equal(b.All(), was) || a.List() != nil {
		t.Errorf("a change of one changed the other: %v", b.All())
	}
	c := b
	c.Add("tls.version", "1.2")
	b.Add("tls.version", "1.3")
	if !b.Has("tls.version", "1.3") || !c.Has("tls.version", "1.2") || b.Len() != 3 || c.Len() != 3 {
		t.Errorf("%v, %v", b.All(), c.All())
	}
	// Lists whose hashes fall together take turns, and stay right.
	for i := range 1 << 14 {
		var f Facts
		f.Add(Auth, string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)))
		was := f.All()[0]
		lists.Share(&f)
		if f.Len() != 1 || f.All()[0] != was {
			t.Fatalf("%v became %v", was, f.All())
		}
	}
}
