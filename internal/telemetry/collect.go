package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/domain/message"
	"countersign/internal/store"
)

// patience is how long a scrape waits for the database.
const patience = 2 * time.Second

// A Source is what is asked when somebody looks.
type Source struct {
	Stats   func() store.Stats
	Load    func() (running, waiting, room int) // of password hashes
	Ready   func(ctx context.Context) error     // of the database
	Backlog func(ctx context.Context) ([]store.Backlog, error)
	Now     func() time.Time
}

// A looker makes metrics of a Source.
type looker struct {
	source Source
	desc   map[string]*prometheus.Desc
}

var looked = []struct {
	name, help string
	labels     []string
}{
	{"password_hashes_running", "Password hashes being computed.", nil},
	{"password_hashes_waiting", "Passwords that wait for their hash.", nil},
	{"password_hashes_waiting_limit", "How many may wait; what comes beyond is refused.", nil},
	{"session_checks_total", "Looks for a session by its token: a hit of the cache, or a read (miss).", []string{"cache"}},
	{"session_cache_trust_seconds", "How long a cached session is believed: 30 where the node hears the others, 1 where there is nothing to hear (SQLite), 0 where it has lost them and reads every session.", nil},
	{"database_up", "Whether the database answers: 1 or 0.", nil},
	{"database_write_retries_total", "Writes tried again because another was first.", nil},
	{"database_unavailable_total", "Calls that the database failed.", nil},
	{"database_connections", "Open connections, by pool and state.", []string{"pool", "state"}},
	{"database_connections_limit", "Connections that a pool may open.", []string{"pool"}},
	{"database_connection_waits_total", "Waits for a connection.", []string{"pool"}},
	{"database_connection_wait_seconds_total", "Time waited for connections.", []string{"pool"}},
	{"outbox_messages", "Messages in the outbox: queued, or dead (given up). Every node of a database says the same.", []string{"channel", "state"}},
	{"outbox_oldest_seconds", "Age of the oldest message that waits.", []string{"channel"}},
	{"audit_chain_checks_total", "Audit chains that were checked by this process, by result: holds, broken.", []string{"result"}},
}

// Look has the source asked at every scrape.
func (m *Metrics) Look(s Source) {
	l := &looker{source: s, desc: map[string]*prometheus.Desc{}}
	for _, d := range looked {
		l.desc[d.name] = prometheus.NewDesc("countersign_"+d.name, d.help, d.labels, nil)
	}
	m.registry.MustRegister(l)
}

// Describe is prometheus.Collector's.
func (l *looker) Describe(to chan<- *prometheus.Desc) {
	for _, d := range l.desc {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (l *looker) Collect(to chan<- prometheus.Metric) {
	say := func(kind prometheus.ValueType, name string, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(l.desc[name], kind, value, labels...)
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	running, waiting, room := l.source.Load()
	say(gauge, "password_hashes_running", float64(running))
	say(gauge, "password_hashes_waiting", float64(waiting))
	say(gauge, "password_hashes_waiting_limit", float64(room))
	s := l.source.Stats()
	say(counter, "session_checks_total", float64(s.Hits), "hit")
	say(counter, "session_checks_total", float64(s.Misses), "miss")
	say(gauge, "session_cache_trust_seconds", s.Trust.Seconds())
	say(counter, "database_write_retries_total", float64(s.Retries))
	say(counter, "database_unavailable_total", float64(s.Unavailable))
	say(counter, "audit_chain_checks_total", float64(s.Hold), "holds")
	say(counter, "audit_chain_checks_total", float64(s.Broken), "broken")
	for name, p := range s.Pools {
		say(gauge, "database_connections", float64(p.Busy), name, "busy")
		say(gauge, "database_connections", float64(p.Open-p.Busy), name, "idle")
		say(gauge, "database_connections_limit", float64(p.Most), name)
		say(counter, "database_connection_waits_total", float64(p.Waits), name)
		say(counter, "database_connection_wait_seconds_total", p.Waited.Seconds(), name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if l.source.Ready(ctx) != nil {
		say(gauge, "database_up", 0)
		return // what the outbox holds nobody knows
	}
	say(gauge, "database_up", 1)
	backlog, err := l.source.Backlog(ctx)
	if err != nil {
		return
	}
	there := map[[2]string]store.Backlog{}
	for _, b := range backlog {
		there[[2]string{string(b.Channel), string(b.State)}] = b
	}
	for _, channel := range []message.Channel{message.Email, message.SMS} {
		oldest := 0.0
		for _, state := range []message.State{message.Queued, message.Dead} {
			b := there[[2]string{string(channel), string(state)}]
			say(gauge, "outbox_messages", float64(b.N), string(channel), string(state))
			if state == message.Queued && b.N > 0 {
				oldest = max(0, l.source.Now().Sub(b.Oldest).Seconds())
			}
		}
		say(gauge, "outbox_oldest_seconds", oldest, string(channel))
	}
}
