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
	return hashWords(addrWord(&src.Addr)^uint64(src.Port), addrWord(&dst.Addr)^uint64(dst.Port), proto)
}

// HashPair hashes two addresses, in either order to the same.
func HashPair(a, b *Addr) uint64 { return hashWords(addrWord(a), addrWord(b), 0) }

// addrWord makes an address a word that a port fits into: of IPv4 the address
// itself, above 16 zero bits; of IPv6 a keyed hash.
func addrWord(a *Addr) uint64 {
	hi, lo := binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])
	if hi == 0 && uint32(lo) == 0xffff<<16 {
		return lo
	}
	return fold(hi^hashKeys[0], lo^hashKeys[1])
}

// hashWords hashes two words, in either order to the same, and a protocol. It
// is what wyhash does with 16 bytes, but for the one key for both: that makes it
// symmetric.
func hashWords(a, b uint64, proto uint8) uint64 {
	hi, lo := bits.Mul64(a^hashKeys[1], b^hashKeys[1])
	return fold(hi^hashKeys[2], lo^hashKeys[3]^uint64(proto))
}

// fold multiplies to 128 bits and folds the halves, the mixing step of wyhash.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
