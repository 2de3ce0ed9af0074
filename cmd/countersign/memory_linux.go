package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// forgetProgram takes the program file out of the memory that counts as ours
// (madvise(2), MADV_DONTNEED: pages of a file that nobody writes are mapped
// again when they are touched). The kernel maps a neighbourhood of up to some
// megabytes with every page, and the start touches nearly everything once.
func forgetProgram() {
	program, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != program || f[1] != "r-xp" && f[1] != "r--p" {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		low, err1 := strconv.ParseUint(from, 16, 64)
		high, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(low), uintptr(high-low), syscall.MADV_DONTNEED)
		}
	}
}
