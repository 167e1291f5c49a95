package capture

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// hashKeys are drawn once a process, so that nobody can prepare flows that
// fall into one slot of a hash table. Nothing that is printed depends on them.
var hashKeys = [4]uint64{rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1}

// Hash returns the hash of a flow key: the same value for both directions, and
// different ones in different processes. It is what Packet.Hash holds; for an
// ICMP error that is the hash of the quoted packet's ends and protocol.
func Hash(src, dst Endpoint, proto uint8) uint64 {
	return hash(&src, &dst, proto)
}

func hash(src, dst *Endpoint, proto uint8) uint64 {
	// The sum makes it symmetric; each term is keyed, so that no choice of
	// addresses makes two sums equal but by chance.
	return fold(hashEnd(src, proto)+hashEnd(dst, proto), hashKeys[3])
}

func hashEnd(e *Endpoint, proto uint8) uint64 {
	hi, lo := binary.LittleEndian.Uint64(e.Addr[:8]), binary.LittleEndian.Uint64(e.Addr[8:])
	return fold(fold(hi^hashKeys[0], lo^hashKeys[1])^hashKeys[2], uint64(e.Port)<<8^uint64(proto)^hashKeys[1])
}

// HashPair hashes two addresses, in either order to the same.
func HashPair(a, b *Addr) uint64 { return fold(hashAddr(a)+hashAddr(b), hashKeys[3]) }

func hashAddr(a *Addr) uint64 {
	return fold(binary.LittleEndian.Uint64(a[:8])^hashKeys[0], binary.LittleEndian.Uint64(a[8:])^hashKeys[1])
}

// fold multiplies to 128 bits and folds the halves, the mixing step of wyhash.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
