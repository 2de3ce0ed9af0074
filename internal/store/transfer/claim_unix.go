//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package transfer

import (
	"os"
	"syscall"
)

// claim takes a file that is being written for this process; false: another
// has it. A claim is gone with the process.
func claim(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil //nolint:gosec // a descriptor is small
}
