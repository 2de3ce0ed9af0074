package server

import "context"

// ReadMetadata is Metadata with another root.
var ReadMetadata = readMetadata

// Digests is the job of that name, as the janitor runs it.
func (s *Server) Digests(ctx context.Context) error { return s.digests(ctx) }
