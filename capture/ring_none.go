//go:build !linux || !cgo

package capture

func isRingTimeout(error) bool { return false }
