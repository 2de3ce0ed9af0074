package store_test

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"countersign/internal/store/storetest"
)

// A disk of three megabytes.
func TestASmallDiskThatIsFullIsRefusedAndReadsGoOn(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=3m")
	if os.Getuid() != 0 && errors.Is(err, syscall.EPERM) {
		asRoot(t)
		return
	}
	if err != nil {
		storetest.Missing(t, "no disk of its own: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	w := storetest.New(t, storetest.SQLite)
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

// asRoot runs the test once more, as the root of a namespace of its own.
func asRoot(t *testing.T) {
	t.Helper()
	c := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	out, err := c.CombinedOutput()
	if c.Process == nil {
		storetest.Missing(t, "no disk of its own: "+err.Error())
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s", out)
}
