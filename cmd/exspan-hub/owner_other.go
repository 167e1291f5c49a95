//go:build !unix

package main

import "os"

func giveToOwner(*os.File, string) error { return nil }
