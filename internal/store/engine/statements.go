package engine

// Statements are the texts that were prepared on SQLite until now: what the
// program has asked of the database.
func (e *Engine) Statements() (list []string) {
	for _, p := range e.prepared {
		p.statements.Range(func(text, _ any) bool {
			list = append(list, text.(string))
			return true
		})
	}
	return list
}
