//go:build race

package session

// raceAllocs is how many allocations more a message may cost under the race detector,
// which keeps the compiler from leaving some out.
const raceAllocs = 1
