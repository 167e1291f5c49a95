package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/exspan/exspan/rules"
)

func loadSite(file string) (*rules.Site, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file", file)
	}
	if err != nil {
		return nil, err
	}
	return rules.LoadSite(file, data)
}

// loadPacks returns the built-in packs with those of the files laid over them.
func loadPacks(files []string) (*rules.Packs, error) {
	return rules.EmbeddedWith(anyFile{}, files...)
}

// anyFile opens files by the names that the operator gave, so that errors show
// those names.
type anyFile struct{}

func (anyFile) Open(name string) (fs.File, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file", name)
	}
	return f, err
}
