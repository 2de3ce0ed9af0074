package server

import (
	"context"
	"net"
	"time"
)

// ReadMetadata is Metadata with another root.
var ReadMetadata = readMetadata

// Observed is where the metrics are.
func (s *Server) Observed() net.Addr { return s.observed.side.Addr() }

// What is asked of the machine, with other bounds.
var (
	AwaitFor = await
	Watchdog = watchdog
)

// SetAfter has the server wait by f.
func (s *Server) SetAfter(f func(d time.Duration) <-chan time.Time) { s.after = f }

// Digests is the job of that name, as the janitor runs it.
func (s *Server) Digests(ctx context.Context) error { return s.digests(ctx) }
