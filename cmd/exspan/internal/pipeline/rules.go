package pipeline

import (
	"io/fs"
	"os"

	"github.com/exspan/exspan/rules"
)

// ReadFile returns the content of a file that the operator named. An error begins with
// that name.
func ReadFile(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, missing(name, err)
	}
	return data, nil
}

func loadSite(file string) (*rules.Site, error) {
	data, err := ReadFile(file)
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
	if err != nil {
		return nil, missing(name, err)
	}
	return f, nil
}
