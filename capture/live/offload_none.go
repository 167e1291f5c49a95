//go:build !linux

package live

// Offloads returns nil, because only Linux tells.
func Offloads(string) []string { return nil }
