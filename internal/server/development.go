package server

import (
	"embed"
	"encoding/json"
	"net/http"
	"time"

	"countersign/internal/domain/message"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
)

//go:embed templates
var developmentFS embed.FS

// development is what development mode adds: for this machine only.
type development struct {
	server *Server
	kit    *page.Kit
	page   page.Page[outboxPage]
}

type outboxPage struct {
	page.Base
	Messages []message.Message
}

const outboxShown = 100

func (d *development) mount(t *request.Router) {
	t.Handle("GET /dev/outbox", d.here(d.showOutbox))
	t.Handle("GET /dev/outbox.json", d.here(d.listOutbox))
	t.Handle("GET /dev/clock", d.here(d.showClock))
	t.Handle("POST /dev/clock", d.here(d.moveClock))
}

// here answers this machine alone: by its address, and under a name that no
// page elsewhere can make point here.
func (d *development) here(h page.HandlerFunc) http.Handler {
	return d.kit.Handle(func(w http.ResponseWriter, r *http.Request) error {
		peer := request.ClientAddress(&http.Request{RemoteAddr: r.RemoteAddr}, nil)
		if !peer.IsLoopback() || !d.server.config.IsHere(r.Host) {
			return request.ErrNotFound
		}
		return h(w, r)
	})
}

func (d *development) showOutbox(w http.ResponseWriter, r *http.Request) error {
	list, err := d.server.DB.Read(r.Context()).Messages("", outboxShown)
	if err != nil {
		return err
	}
	data := outboxPage{d.kit.Base(w, r), list}
	data.Wide = true
	return d.page.Render(w, r, http.StatusOK, data)
}

func (d *development) listOutbox(w http.ResponseWriter, r *http.Request) error {
	list, err := d.server.DB.Read(r.Context()).Messages("", outboxShown)
	if err != nil {
		return err
	}
	type entry struct {
		ID      string          `json:"id"`
		At      time.Time       `json:"at"`
		Channel message.Channel `json:"channel"`
		To      string          `json:"to"`
		Subject string          `json:"subject"`
		Text    string          `json:"text"`
	}
	entries := make([]entry, len(list))
	for i, m := range list {
		entries[i] = entry{m.ID, m.CreatedAt, m.Channel, m.To, m.Subject, m.Text}
	}
	return writeJSON(w, entries)
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

func (d *development) showClock(w http.ResponseWriter, _ *http.Request) error {
	c := d.server.clock
	return writeJSON(w, map[string]any{"now": c.Now().UTC().Format(time.RFC3339Nano), "ahead": c.Ahead().String()})
}

func (d *development) moveClock(w http.ResponseWriter, r *http.Request) error {
	if err := d.kit.Guard.SameSite(r); err != nil {
		return err
	}
	var body struct {
		Advance string `json:"advance"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&body); err != nil {
		return request.ErrMalformed
	}
	by, err := time.ParseDuration(body.Advance)
	if err != nil || by <= 0 || by > 50*365*24*time.Hour {
		return request.ErrMalformed
	}
	if err := d.server.clock.Advance(by); err != nil {
		return err
	}
	return d.showClock(w, r)
}
