package store_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"countersign/internal/store/storetest"
)

// A disk of three megabytes, where the machine lets us have one.
func TestASmallDiskThatIsFullIsRefusedAndReadsGoOn(t *testing.T) {
	t.Parallel()
	w := storetest.New(t, storetest.SQLite)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("no disk of its own: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	w.Config.URL = disk + "/countersign.db"
	w.DB = storetest.Open(t, w.Config)
	ballast := disk + "/ballast"
	full(t, w, func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		for b := make([]byte, 4096); err == nil; {
			_, err = f.Write(b)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
}
