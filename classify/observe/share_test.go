package observe

import (
	"fmt"
	"slices"
	"testing"
)

func TestFactLists(t *testing.T) {
	lists := NewFactLists()
	a, b, none := lists.Empty(), lists.Empty(), lists.Empty()
	for _, f := range []*Facts{&a, &b} {
		f.Add(Auth, "negotiate")
		f.Add(Encryption, "tls")
	}
	if a.List() == nil || a.List() != b.List() || none.List() != nil {
		t.Fatal("equal facts do not share a list")
	}
	was := slices.Clone(b.All())
	a.Remove(Auth, "negotiate")
	a.Add(Auth, "ntlm")
	if !slices.Equal(b.All(), was) || a.List() == b.List() {
		t.Errorf("changing one set changed the other: %v", b.All())
	}
	other := lists.Empty()
	other.Add(Encryption, "tls")
	other.Add(Auth, "ntlm")
	if a.List() != other.List() {
		t.Errorf("%v does not share the list of equal facts", a.All())
	}
	c := b
	c.Add("tls.version", "1.2")
	b.Add("tls.version", "1.3")
	if !b.Has("tls.version", "1.3") || !c.Has("tls.version", "1.2") || b.Len() != 3 || c.Len() != 3 {
		t.Errorf("%v, %v", b.All(), c.All())
	}
	a.Remove(Auth, "ntlm")
	a.Remove(Encryption, "tls")
	a.Remove(Encryption, "tls")
	if a.Len() != 0 || a.List() != nil {
		t.Errorf("removing from an empty set leaves %v", a.All())
	}
}

// TestFactListsReplaced verifies that replaced lists stay intact and that lists in
// constant use are not replaced.
func TestFactListsReplaced(t *testing.T) {
	lists := NewFactLists()
	usual := func() *List {
		f := lists.Empty()
		f.Add(Auth, "ntlm")
		f.Add(Encryption, "none")
		return f.List()
	}
	first := usual()
	var made []Facts
	for i := range 1 << 14 {
		f := lists.Empty()
		for j := range i % 12 {
			f.Add(fmt.Sprint(j), fmt.Sprint(i))
		}
		made = append(made, f)
		if usual() != first {
			t.Fatalf("the list in use is gone after %d others", i)
		}
	}
	for i, f := range made {
		for j, x := range f.All() {
			if want := (Fact{fmt.Sprint(j), fmt.Sprint(i)}); x != want || f.Len() != i%12 {
				t.Fatalf("%v became %v", want, f.All())
			}
		}
	}
}

// TestUnsharedFacts compares facts with and without shared lists with a plain list.
func TestUnsharedFacts(t *testing.T) {
	lists := NewFactLists()
	for seed := range 200 {
		shared, own := lists.Empty(), Facts{}
		var want []Fact
		for step := range 40 {
			x := Fact{fmt.Sprint((seed*7 + step*step) % 5), fmt.Sprint(step * seed % 3)}
			remove := step%4 == 3
			for _, f := range []*Facts{&shared, &own} {
				f.Changed = false
				if remove {
					f.Remove(x.Name, x.Value)
				} else if seed%2 == 1 {
					f.AddBytes(x.Name, []byte(x.Value))
				} else {
					f.Add(x.Name, x.Value)
				}
				if f.Changed != (slices.Contains(want, x) == remove) {
					t.Fatalf("%v: changed is %t, remove %t, before %v", x, f.Changed, remove, want)
				}
			}
			if i := slices.Index(want, x); i >= 0 && remove {
				want = slices.Delete(want, i, i+1)
			} else if i < 0 && !remove {
				want = append(want, x)
			}
			if !slices.Equal(shared.All(), want) || !slices.Equal(own.All(), want) {
				t.Fatalf("%v and %v, want %v", shared.All(), own.All(), want)
			}
		}
	}
}

func TestAddAgain(t *testing.T) {
	lists := NewFactLists()
	a, b, c := lists.Empty(), lists.Empty(), lists.Empty()
	if a.AddAgain(Auth, []byte("ntlm")) {
		t.Error("AddAgain added a value that was never added before")
	}
	a.Add(Auth, "ntlm")
	a.AddBytes(Encryption, []byte("n\x01ne"))
	if b.AddAgain(Auth, []byte("basic")) || b.AddAgain(Encryption, []byte("ntlm")) || !b.AddAgain(Auth, []byte("ntlm")) || !b.Changed {
		t.Errorf("%v", b.All())
	}
	if b.AddAgain(Auth, []byte("ntlm")) || b.AddAgain(Encryption, []byte("n\x01ne")) || !b.AddAgain(Encryption, []byte("n ne")) {
		t.Errorf("%v", b.All())
	}
	if a.List() != b.List() || a.Len() != 2 {
		t.Errorf("%v, %v", a.All(), b.All())
	}
	b.AddBytes(Auth, nil)
	if allocated := testing.AllocsPerRun(10, func() { c = lists.Empty(); c.AddBytes(Auth, []byte("ntlm")) }); allocated > 0 || b.Len() != 2 {
		t.Errorf("%v allocations for a repeated value, %v", allocated, b.All())
	}
}

func TestAddBytesAfterAdd(t *testing.T) {
	lists := NewFactLists()
	for range 3 {
		for _, value := range []string{"a", "b", "c", "a", "\x01", ""} {
			add, bytes := lists.Empty(), lists.Empty()
			add.Add("name", "first")
			bytes.AddBytes("name", []byte("first"))
			add.Add("name", value)
			bytes.AddBytes("name", []byte(value))
			if add.List() != bytes.List() || add.Changed != bytes.Changed {
				t.Errorf("%q: %v and %v", value, add.All(), bytes.All())
			}
		}
	}
	f := lists.Empty()
	f.Add("name", "a")
	lists.root.next = nil
	value := []byte("a")
	if n := testing.AllocsPerRun(10, func() {
		g := lists.Empty()
		g.AddBytes("name", value)
		lists.root.next = nil
	}); n != 0 {
		t.Errorf("%v allocations for a known value", n)
	}
}
