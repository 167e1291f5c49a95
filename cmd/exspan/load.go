package main

import (
	"os"

	"github.com/exspan/exspan/rules"
)

func loadSite(file string) (*rules.Site, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return rules.LoadSite(file, data)
}

func loadPacks(files []string) (*rules.Packs, error) {
	return rules.Embedded()
}
