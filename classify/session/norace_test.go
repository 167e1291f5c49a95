//go:build !race

package session

const raceAllocs = 0
