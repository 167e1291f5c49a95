//go:build !unix

package main

import "errors"

const keepsCapture = false

func becomeUser(string) error { return errors.New("--user: not on this system") }
