//go:build unix

package secret

import (
	"syscall"
	"unsafe"
)

// mapBlocks maps n blocks of zeros.
func mapBlocks(n uint32) []block {
	b, err := syscall.Mmap(-1, 0, int(n)*int(unsafe.Sizeof(block{})), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]block, n) // where the system refuses, the collector may be luckier
	}
	return unsafe.Slice((*block)(unsafe.Pointer(unsafe.SliceData(b))), n) //nolint:gosec // pages are aligned
}

// unmapBlocks gives back what mapBlocks returned.
func unmapBlocks(b []block) {
	size := len(b) * int(unsafe.Sizeof(block{}))
	_ = syscall.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), size)) // refuses what it did not map
}
