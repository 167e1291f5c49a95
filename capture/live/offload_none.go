//go:build !linux

package live

// Offloads is known on Linux only.
func Offloads(string) []string { return nil }
