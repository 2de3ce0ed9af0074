package secret

import "context"

// EnterHeavy takes the place of a hash that takes much memory.
func (h *Hasher) EnterHeavy(ctx context.Context) (leave func(), err error) { return h.enter(ctx, true) }

// Arenas are the memories of a Hasher.
type Arenas struct{ arenas }

// Derive makes a key.
func (a *Arenas) Derive(cost Argon2, password, salt []byte, size uint32) []byte {
	return a.derive(cost, password, salt, size)
}

// Release gives back what nobody has used.
func (a *Arenas) Release() { a.release() }

// Free is how many memories nobody has at the moment.
func (a *Arenas) Free() int { return len(a.free) }

// Dirty reports whether a free one holds anything.
func (a *Arenas) Dirty() bool {
	for _, b := range a.free {
		for _, x := range b {
			if x != (block{}) {
				return true
			}
		}
	}
	return false
}
