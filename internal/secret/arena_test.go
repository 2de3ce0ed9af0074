package secret_test

import (
	"bytes"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"

	"countersign/internal/secret"
)

func TestAHashInMemoryOfOursIsTheLibrarys(t *testing.T) {
	t.Parallel()
	var a secret.Arenas
	for _, c := range []secret.Argon2{secret.DefaultArgon2, {MemoryKiB: 1024, Passes: 1, Threads: 1}, {MemoryKiB: 2000, Passes: 3, Threads: 1}, {MemoryKiB: 1030, Passes: 2, Threads: 3}, {MemoryKiB: 64, Passes: 2, Threads: 1}} {
		for _, size := range []uint32{16, 32, 128} {
			for range 2 { // in memory that is new, and in memory that was used
				if got, want := a.Derive(c, []byte("correct horse"), []byte("battery staple"), size), argon2.IDKey([]byte("correct horse"), []byte("battery staple"), c.Passes, c.MemoryKiB, c.Threads, size); !bytes.Equal(got, want) {
					t.Errorf("%+v, %d bytes: %x, the library says %x", c, size, got, want)
				}
			}
		}
		a.Release()
		a.Release()
	}
}

func TestMemoryOfHashesIsUsedAgainAndGivenBack(t *testing.T) {
	t.Parallel()
	var a secret.Arenas
	cost := secret.Argon2{MemoryKiB: 1024, Passes: 1, Threads: 1}
	for range 5 {
		a.Derive(cost, []byte("password"), []byte("12345678"), 32)
	}
	if n := a.Free(); n != 1 {
		t.Errorf("five hashes, one after the other, took %d memories", n)
	}
	if a.Dirty() {
		t.Error("a hash left something in its memory")
	}
	a.Release() // it was in use since the last time
	if n := a.Free(); n != 1 {
		t.Errorf("%d memories after the first release", n)
	}
	a.Derive(cost, []byte("password"), []byte("12345678"), 32)
	a.Release()
	if n := a.Free(); n != 1 {
		t.Errorf("%d memories after a release between uses", n)
	}
	a.Release()
	if n := a.Free(); n != 0 {
		t.Errorf("%d memories where nobody hashes", n)
	}
	want := argon2.IDKey([]byte("password"), []byte("12345678"), 1, 1024, 1, 32)
	var together sync.WaitGroup
	for range 8 {
		together.Go(func() {
			for range 20 {
				if !bytes.Equal(a.Derive(cost, []byte("password"), []byte("12345678"), 32), want) {
					t.Error("hashes at once disturb each other")
				}
				a.Release()
			}
		})
	}
	together.Wait()
}
