package rules

import (
	"os"
	"reflect"
	"testing"
)

// TestBuiltin compares the generated packs with their sources.
func TestBuiltin(t *testing.T) {
	packs, err := Load(os.DirFS("packs"))
	if err != nil {
		t.Fatal(err)
	}
	if built := embeddedPacks(t); !reflect.DeepEqual(built.All(), packs.All()) {
		t.Error("builtin.go is not what the packs say; run go generate ./rules")
	}
}
