package etw

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const folder = "../../testdata/windows"

// truth is the expected content of a file, from the file beside it.
type truth struct {
	Packets, Events, Drops, Lost, Cut uint64
	Frames                            [][3]any
}

func TestTruth(t *testing.T) {
	names, err := filepath.Glob(folder + "/*.truth.json")
	if err != nil || len(names) < 12 {
		t.Fatalf("%d files with truth, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var want truth
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if err := d.Decode(&want); err != nil {
				t.Fatal(err)
			}
			file := name[:len(name)-len(".truth.json")]
			frames, r := readAll(t, file, Options{})
			if got := uint64(len(frames)); got != want.Packets || r.Packets != got {
				t.Fatalf("%d packets, the report has %d, want %d", got, r.Packets, want.Packets)
			}
			if r.Drops != want.Drops || r.Lost != want.Lost {
				t.Errorf("%d drops, %d lost; want %d, %d", r.Drops, r.Lost, want.Drops, want.Lost)
			}
			if err := r.Err(); err != nil {
				t.Errorf("damage: %v", err)
			}
			if !slices.IsSortedFunc(frames, func(a, b Frame) int { return cmp.Compare(a.Time, b.Time) }) {
				t.Error("not in the order of time")
			}
			wanted := make([]Frame, len(want.Frames))
			hash := map[int64][]string{}
			for i, f := range want.Frames {
				wanted[i] = Frame{Time: number(f[0]), Wire: uint32(number(f[1]))}
				if f[2] != nil { // unknown for some 802.11 frames
					hash[wanted[i].Time] = append(hash[wanted[i].Time], f[2].(string))
				}
			}
			order := func(a, b Frame) int { return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Wire, b.Wire)) }
			slices.SortFunc(wanted, order)
			slices.SortFunc(frames, order)
			for i, f := range frames {
				if f.Time != wanted[i].Time || f.Wire != wanted[i].Wire {
					t.Errorf("packet %d: time %d, %d bytes; want %d, %d", i, f.Time, f.Wire, wanted[i].Time, wanted[i].Wire)
				}
				sum := sha256.Sum256(f.Data)
				if h := hash[f.Time]; h != nil && !slices.Contains(h, hex.EncodeToString(sum[:8])) {
					t.Errorf("packet %d: the bytes differ from the captured ones", i)
				}
			}
		})
	}
}

func number(v any) int64 {
	n, _ := v.(json.Number).Int64()
	return n
}

// readAll reads a file to its end.
func readAll(t *testing.T, name string, o Options) ([]Frame, *Report) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, st.Size(), o)
	if err != nil {
		t.Fatal(err)
	}
	var list []Frame
	for {
		var f Frame
		err := r.Next(&f)
		if err == io.EOF {
			return list, r.Report()
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Data = append([]byte(nil), f.Data...)
		list = append(list, f)
	}
}
