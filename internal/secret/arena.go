package secret

import (
	"encoding/binary"
	"sync"
	_ "unsafe" // go:linkname

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/blake2b"
)

// The memory of a password hash is most of what the server takes. The library
// makes it anew each time: 19 MiB of garbage a sign-in, for which the collector
// runs once a sign-in, and in a flood twice as much memory as the hashes need.
// So what the library does is done here in memory that is used again and that
// the collector does not see. It is the library's own code, bound by name; a
// test compares the results, and a version without these names does not link.

type block [128]uint64

const (
	argon2idMode = 2
	syncPoints   = 4       // RFC 9106 §3.2
	arenaMinKiB  = 1 << 10 // a hash of less memory is left to the library
)

//go:linkname argonInitHash golang.org/x/crypto/argon2.initHash
func argonInitHash(password, salt, key, data []byte, time, memory, threads, keyLen uint32, mode int) [blake2b.Size + 8]byte

//go:linkname argonHash golang.org/x/crypto/argon2.blake2bHash
func argonHash(out, in []byte)

//go:linkname argonProcess golang.org/x/crypto/argon2.processBlocks
func argonProcess(b []block, time, memory, threads uint32, mode int)

//go:linkname argonExtract golang.org/x/crypto/argon2.extractKey
func argonExtract(b []block, memory, threads, keyLen uint32) []byte

// Arenas are the memories of a Hasher, each for one hash, zero while nobody
// has them.
type arenas struct {
	mu   sync.Mutex
	free [][]block
	idle int // how many were free all the time since the last release
}

// take returns a memory of n blocks, each of 1 KiB.
func (a *arenas) take(n uint32) []block {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.free) - 1; last >= 0 {
		b := a.free[last]
		a.free = a.free[:last]
		a.idle = min(a.idle, last)
		return b
	}
	return mapBlocks(n)
}

// give takes one back. What a hash leaves is not for the next one, nor for
// whoever reads the memory of the process.
func (a *arenas) give(b []block) {
	clear(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, b)
}

// release gives the system back what nobody has used since the last time.
func (a *arenas) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ; a.idle > 0; a.idle-- {
		last := len(a.free) - 1
		unmapBlocks(a.free[last])
		a.free = a.free[:last]
	}
	a.idle = len(a.free)
}

// derive is argon2.IDKey for the hasher's own cost.
func (a *arenas) derive(cost Argon2, password, salt []byte, size uint32) []byte {
	threads := uint32(cost.Threads)
	memory := cost.MemoryKiB / (syncPoints * threads) * (syncPoints * threads)
	if memory < arenaMinKiB {
		return argon2.IDKey(password, salt, cost.Passes, cost.MemoryKiB, cost.Threads, size)
	}
	h0 := argonInitHash(password, salt, nil, nil, cost.Passes, cost.MemoryKiB, threads, size, argon2idMode)
	b := a.take(memory)
	defer a.give(b)
	var first [1024]byte
	for lane := range threads {
		binary.LittleEndian.PutUint32(h0[blake2b.Size+4:], lane)
		for i := range uint32(2) { // RFC 9106 §3.2, steps 3 and 4
			binary.LittleEndian.PutUint32(h0[blake2b.Size:], i)
			argonHash(first[:], h0[:])
			for j := range b[lane*(memory/threads)+i] {
				b[lane*(memory/threads)+i][j] = binary.LittleEndian.Uint64(first[8*j:])
			}
		}
	}
	argonProcess(b, cost.Passes, memory, threads, argon2idMode)
	return argonExtract(b, memory, threads, size)
}
