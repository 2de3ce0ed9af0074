package signin

// Gathered is how many sessions wait to be written down after the write that
// is under way; -1: none is.
func (f *Flow) Gathered() int {
	f.seeing.mu.Lock()
	defer f.seeing.mu.Unlock()
	switch {
	case !f.seeing.under:
		return -1
	case f.seeing.next == nil:
		return 0
	}
	return len(f.seeing.next.ids)
}
