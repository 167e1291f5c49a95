//go:build !unix

package main

import "errors"

func becomeUser(string) error { return errors.New("--user: not on this system") }
