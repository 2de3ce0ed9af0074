package console

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
	"countersign/internal/store"
)

const auditPath = "/console/audit"

func (p *Pages) mountAudit(t *request.Router) {
	t.Handle("GET /console/audit", p.kit.For(page.Auditors, "", p.showAudit))
	t.Handle("POST /console/audit/check", p.kit.For(page.Auditors, "", p.checkAudit))
	t.Handle("POST /console/audit/export", p.kit.For(page.Auditors, policy.ManageUsers, p.exportAudit))
}

// auditMethods are the methods that events name.
var auditMethods = []string{string(factor.Passkey), string(factor.U2F), string(factor.VirtualMFA), string(factor.SMS), string(factor.Email), string(factor.RecoveryCode), string(factor.Password)}

// An auditQuery is what the audit is asked for, as the form has it.
type auditQuery struct {
	From, To       string // days, or instants, of UTC
	Actor, Target  string
	Event          string // a name, or the key of a group
	Result, Method string
	Network        string
	Request        string
	Before         int64
}

// errFilter says that a field of the query makes no sense.
var errFilter = fault.New(fault.Invalid, "audit.filter")

// parseAudit reads the query of the audit. What makes no sense is as if it were
// not there, and named in the error.
func parseAudit(q request.Form) (a auditQuery, err error) {
	a = auditQuery{Result: one(q.Get("result"), "done", "refused"), Method: one(q.Get("method"), auditMethods...)}
	for name, into := range map[string]*string{"actor": &a.Actor, "target": &a.Target, "request": &a.Request} {
		*into = audit.Clip(strings.TrimSpace(q.Get(name)), 300)
	}
	if names(q.Get("event")) != nil {
		a.Event = q.Get("event")
	}
	if network(q.Get("network")).IsValid() {
		a.Network = strings.TrimSpace(q.Get("network"))
	}
	if t, _ := moment(q.Get("from")); !t.IsZero() {
		a.From = q.Get("from")
	}
	if t, _ := moment(q.Get("to")); !t.IsZero() {
		a.To = q.Get("to")
	}
	if n, err := strconv.ParseInt(q.Get("before"), 10, 64); err == nil && n > 0 {
		a.Before = n
	}
	for _, f := range []struct{ name, read string }{{"from", a.From}, {"to", a.To}, {"event", a.Event}, {"result", a.Result}, {"method", a.Method}, {"network", a.Network}} {
		if err == nil && f.read == "" && strings.TrimSpace(q.Get(f.name)) != "" {
			err = errFilter.On(f.name)
		}
	}
	return a, err
}

// names are the events that one choice stands for.
func names(event string) []audit.Name {
	for _, g := range audit.Groups {
		if g.Key == event {
			return g.Names
		}
		if slices.Contains(g.Names, audit.Name(event)) {
			return []audit.Name{audit.Name(event)}
		}
	}
	return nil
}

// network reads an address, or a network as ADDRESS/BITS.
func network(s string) netip.Prefix {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}
	}
	return p.Masked()
}

// moment reads a day, or an instant, of UTC, and says how long it is.
func moment(s string) (t time.Time, long time.Duration) {
	for _, form := range []struct {
		layout string
		long   time.Duration
	}{{time.DateOnly, 24 * time.Hour}, {"2006-01-02T15:04", time.Minute}, {"2006-01-02T15:04:05", time.Second}, {time.RFC3339, time.Second}} {
		if t, err := time.Parse(form.layout, s); err == nil && t.Year() >= 1970 && t.Year() < 10_000 {
			return t.UTC(), form.long
		}
	}
	return time.Time{}, 0
}

// flow is the query as the flow has it.
func (a auditQuery) flow() admin.AuditQuery {
	q := admin.AuditQuery{Actor: a.Actor, Target: a.Target, AuditQuery: store.AuditQuery{Names: names(a.Event), Result: a.Result, Method: a.Method, Networks: network(a.Network), Request: a.Request, Before: a.Before}}
	q.From, _ = moment(a.From)
	if until, long := moment(a.To); !until.IsZero() {
		q.Until = until.Add(long)
	}
	return q
}

func (a auditQuery) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"from": a.From, "to": a.To, "actor": a.Actor, "target": a.Target, "event": a.Event, "result": a.Result, "method": a.Method, "network": a.Network, "request": a.Request} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if a.Before > 0 {
		v.Set("before", strconv.FormatInt(a.Before, 10))
	}
	return v
}

// Filtered reports whether not all events are asked for.
func (a auditQuery) Filtered() bool { return len(a.all()) > 0 }

// all is the query without its page.
func (a auditQuery) all() url.Values {
	a.Before = 0
	return a.values()
}

// All is the query for all that match, for the file of them.
func (a auditQuery) All() string { return a.all().Encode() }

// Page is the link to the page of what is older than an event; 0: the newest.
func (a auditQuery) Page(before int64) string {
	a.Before = before
	return a.link()
}

func (a auditQuery) link() string {
	if q := a.values().Encode(); q != "" {
		return auditPath + "?" + q
	}
	return auditPath
}

// An auditRow is one event of the audit.
type auditRow struct {
	page.Happening
	Who     string // whom it concerns
	WhoPath string // the page of that user; empty: it has none
	Refusal string // why it was refused
	Details []auditDetail
	Changed bool // behind our back
}

// An auditDetail is what else is written of an event.
type auditDetail struct{ Key, Value string }

type auditPage struct {
	base
	Q       auditQuery
	Groups  []audit.Group
	Methods []string
	Rows    []auditRow
	A       admin.Audit
	Head    string
	Ready   audit.Format // the file can be loaded now
}

func (p *Pages) showAudit(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	q, err := request.ReadQuery(r)
	if err != nil {
		return err
	}
	asked, wrong := parseAudit(q)
	data, err := p.audit(w, r, s, asked)
	if err != nil {
		return err
	}
	if wrong != nil {
		status, _ := p.kit.Refuse(w, r, &data.Base, wrong)
		return p.auditLog.Render(w, r, status, data)
	}
	data.Ready = audit.Format(one(q.Get("ready"), string(audit.CSV), string(audit.JSONL)))
	return p.auditLog.Render(w, r, http.StatusOK, data)
}

func (p *Pages) audit(w http.ResponseWriter, r *http.Request, s prove.Signed, asked auditQuery) (data auditPage, err error) {
	a, err := p.flow.Audit(r.Context(), s, asked.flow())
	if err != nil {
		return data, err
	}
	data = auditPage{base: p.base(w, r, s, auditPath), Q: asked, Groups: audit.Groups, Methods: auditMethods, A: a}
	data.Tab = "audit"
	if a.Head.Seq > 0 {
		data.Head = audit.HeadLine(a.Head.Account, a.Head.Seq, a.Head.Hash)
	}
	for _, e := range a.Events {
		row := auditRow{Happening: data.Happened(e.Event, e.Identity), Changed: e.Changed}
		if e.Actor.ID != string(e.Identity) || e.Identity == "" {
			row.Who = a.People[e.Identity].Name
		}
		row.By = data.By(e.Event)
		if a.People[e.Identity].User {
			row.WhoPath = userPath(e.Identity)
		}
		if row.Refused != "" {
			row.Refusal = data.Refusal(e.Refused)
		}
		for key, value := range e.Details {
			row.Details = append(row.Details, auditDetail{key, value})
		}
		slices.SortFunc(row.Details, func(a, b auditDetail) int { return strings.Compare(a.Key, b.Key) })
		data.Rows = append(data.Rows, row)
	}
	return data, nil
}

// checkAudit looks whether the chain holds.
func (p *Pages) checkAudit(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	if _, err := p.kit.Form(w, r); err != nil {
		return err
	}
	err := p.kit.Long(w, r, page.Auditors, func(_ http.ResponseWriter, r *http.Request) error {
		_, err := p.flow.CheckAudit(r.Context(), p.kit.Visitor(r), s)
		return err
	})
	if err != nil {
		data, failed := p.audit(w, r, s, auditQuery{})
		if failed != nil {
			return failed
		}
		status, ok := p.kit.Refuse(w, r, &data.Base, err)
		if !ok {
			return err
		}
		return p.auditLog.Render(w, r, status, data)
	}
	p.kit.Done(w, r, auditPath+"#chain", "audit_checked")
	return nil
}

// headHeader says where the chain ended when a file was made.
const headHeader = "Countersign-Audit-Head"

// exportAudit writes the events that match to a file. The verification that it
// takes leads back to the page, where the button then works: the answer to it
// cannot end in a file.
func (p *Pages) exportAudit(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	f, err := p.kit.Form(w, r)
	if err != nil {
		return err
	}
	q, err := request.QueryOf("?" + f.Get("query"))
	if err != nil {
		return err
	}
	asked, err := parseAudit(q)
	if err != nil {
		return err
	}
	format := audit.Format(one(f.Get("format"), string(audit.CSV), string(audit.JSONL)))
	if format == "" {
		format = audit.CSV
	}
	asked.Before = 0
	err = p.kit.Long(w, r, page.Auditors, func(w http.ResponseWriter, r *http.Request) error { return p.writeEvents(w, r, s, asked, format) })
	if errors.Is(err, prove.ErrVerifyFirst) {
		to := asked.values()
		to.Set("ready", string(format))
		return p.verifyFor(w, r, s, admin.ExportAudit, auditPath+"?"+to.Encode())
	}
	return err
}

func (p *Pages) writeEvents(w http.ResponseWriter, r *http.Request, s prove.Signed, asked auditQuery, format audit.Format) error {
	var out *audit.Writer
	head, err := p.flow.ExportAudit(r.Context(), p.kit.Visitor(r), s, asked.flow(), format, func(head store.Head) (err error) {
		h := w.Header()
		h.Set("Content-Type", format.MediaType())
		h.Set("Content-Disposition", `attachment; filename="audit-`+p.kit.Now().UTC().Format("2006-01-02")+`.`+string(format)+`"`)
		h.Set(headHeader, audit.HeadLine(head.Account, head.Seq, head.Hash))
		out, err = audit.NewWriter(w, format)
		return err
	}, func(e audit.Entry) error { return out.Add(e) })
	if err == nil {
		err = out.Head(head.Account, head.Seq, head.Hash)
	}
	if err != nil {
		return err
	}
	return out.Flush()
}
