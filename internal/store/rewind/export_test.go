package rewind

// What expires, for a test that compares it with the schema.
var (
	Gone    = gone
	Expired = expired
)
