package console

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/policy"
	"countersign/internal/fault"
	"countersign/internal/flow/admin"
	"countersign/internal/front/request"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

const settingsPath = "/console/settings"

// settingsPages are the pages of the settings and of the names.
type settingsPages struct {
	form    page.Page[settingsPage]
	preview page.Page[previewPage]
	names   page.Page[namesPage]
}

func newSettingsPages(k *page.Kit) settingsPages {
	return settingsPages{
		form:    newPage[settingsPage](k, "settings"),
		preview: newPage[previewPage](k, "settingspreview"),
		names:   newPage[namesPage](k, "names"),
	}
}

// settingsPage is the form; auditors read the values.
type settingsPage struct {
	base
	Sections []sectionRow
	Problems []page.Problem // all at once; Problem is the first
	Quotas   account.Quotas

	NoPasskeys bool // the server has no name that they work under
}

// Error is the text of the problem about a field.
func (p settingsPage) Error(field string) string {
	for _, one := range p.Problems {
		if one.Field == field {
			return one.Text
		}
	}
	return ""
}

type sectionRow struct {
	Name   string
	Groups []groupRow
}

type groupRow struct {
	Name   string
	Fields []fieldRow
}

// fieldRow is a field with what is in it.
type fieldRow struct {
	field
	Value   string
	Said    string // the value as people say it
	Default string // as people say it
	From    netip.Addr
	Models  []modelRow
}

// previewPage says what settings will do, before they are saved.
type previewPage struct {
	base
	Changes []changeRow
	Groups  []affectedRow
	Users   int
	Enabled int
	SignOut int // sessions that end
	Locked  bool
	ByMask  bool // the author's own address is outside
	Owner   bool // whom the settings do not concern
	From    netip.Addr
	Hidden  []hiddenRow
}

type changeRow struct{ Label, Was, Becomes string }

// affectedRow is one of the four groups of people.
type affectedRow struct {
	Name  string
	Count int
	Users []admin.Affected
	More  int // beyond those listed
}

type hiddenRow struct{ Name, Value string }

func (p *Pages) mountSettings(t *request.Router) {
	t.Handle("GET /console/settings", p.kit.For(page.Auditors, "", p.showSettings))
	p.post(t, "POST /console/settings", "", p.backToSettings)
	p.post(t, "POST /console/settings/preview", "", p.previewSettings)
	p.post(t, "POST /console/settings/save", policy.ChangePolicy, p.saveSettings)
	p.mountNames(t)
}

func (p *Pages) showSettings(w http.ResponseWriter, r *http.Request, s prove.Signed) error {
	now, err := p.flow.Settings(r.Context(), s)
	if err != nil {
		return err
	}
	return p.renderSettings(w, r, s, http.StatusOK, func(f field) string { return f.get(now) }, nil)
}

// renderSettings shows the form with the values given, and all that is wrong
// with them.
func (p *Pages) renderSettings(w http.ResponseWriter, r *http.Request, s prove.Signed, status int, value func(field) string, wrong []*fault.Fault) error {
	data := settingsPage{base: p.base(w, r, s, settingsPath), Quotas: p.flow.Quotas, NoPasskeys: p.flow.Passkeys == nil}
	data.Tab = "settings"
	for _, f := range wrong {
		data.Problems = append(data.Problems, page.Problem{Field: f.Field, Text: data.L.Fault(f), Code: f.Code})
	}
	if len(data.Problems) > 0 {
		data.Problem = &data.Problems[0]
	}
	from, standard := p.kit.Visitor(r).Address, account.DefaultSettings()
	for _, one := range sections {
		row := sectionRow{Name: one.Name}
		for _, g := range one.Groups {
			rows := groupRow{Name: g.Name}
			for _, f := range g.Fields {
				v := value(f)
				one := fieldRow{field: f, Value: v, Said: f.Words(data.Base, v), Default: f.Words(data.Base, f.get(standard)), From: from}
				if f.Kind == "models" {
					one.Models = modelsIn(v)
				}
				rows.Fields = append(rows.Fields, one)
			}
			row.Groups = append(row.Groups, rows)
		}
		data.Sections = append(data.Sections, row)
	}
	return p.settings.form.Render(w, r, status, data)
}

// typedIn returns the values of a form.
func typedIn(f request.Form) func(field) string {
	return func(one field) string { return tidy(f.Get(one.Name)) }
}

// backToSettings shows the form once more with what was chosen.
func (p *Pages) backToSettings(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	return p.renderSettings(w, r, s, http.StatusOK, typedIn(f), nil)
}

// readSettings reads the form. Where something is wrong the page that says so
// is written, and ok is false.
func (p *Pages) readSettings(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) (before, next account.Settings, ok bool, err error) {
	if before, err = p.flow.Settings(r.Context(), s); err != nil {
		return before, next, false, err
	}
	next, wrong := parseSettings(before, f.Get, p.kit.Now())
	if len(wrong) > 0 {
		return before, next, false, p.renderSettings(w, r, s, http.StatusUnprocessableEntity, typedIn(f), wrong)
	}
	return before, next, true, nil
}

func (p *Pages) previewSettings(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	before, next, ok, err := p.readSettings(w, r, s, f)
	if !ok {
		return err
	}
	return p.renderPreview(w, r, s, f, before, next, nil)
}

// renderPreview says what the settings will do; a refusal to save them comes
// with it.
func (p *Pages) renderPreview(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form, before, next account.Settings, refusal *fault.Fault) error {
	does, err := p.flow.Preview(r.Context(), p.kit.Visitor(r), s, next)
	if err != nil {
		if refused := fault.From(err); refused.Field != "" {
			return p.renderSettings(w, r, s, request.Status(err), typedIn(f), []*fault.Fault{refused})
		}
		return err
	}
	data := previewPage{base: p.base(w, r, s, settingsPath), Users: does.Users, Enabled: does.Enabled, SignOut: does.SignedOut, Owner: s.Identity.IsOwner(), From: p.kit.Visitor(r).Address}
	data.Tab = "settings"
	status := http.StatusOK
	if does.Author != nil {
		refusal, data.Locked = does.Author, true
		data.ByMask = errors.Is(does.Author, admin.ErrAuthorMask)
	}
	if refusal != nil {
		data.Problem = &page.Problem{Text: data.L.Fault(refusal), Code: refusal.Code}
		status = http.StatusConflict
	}
	for _, one := range fields {
		was, becomes := one.get(before), one.get(next)
		if was != becomes {
			data.Changes = append(data.Changes, changeRow{one.Label(data.Base), one.Words(data.Base, was), one.Words(data.Base, becomes)})
		}
		data.Hidden = append(data.Hidden, hiddenRow{one.Name, strings.ReplaceAll(becomes, "\n", " ")})
	}
	data.Hidden = append(data.Hidden, hiddenRow{"seen", seal(before)})
	for _, g := range []affectedRow{{"bind", does.BindCount, does.Bind, 0}, {"asked", does.AskedCount, does.Asked, 0}, {"locked", does.LockedCount, does.LockedOut, 0}, {"freed", does.FreedCount, does.Freed, 0}} {
		g.More = g.Count - len(g.Users)
		data.Groups = append(data.Groups, g)
	}
	return p.settings.preview.Render(w, r, status, data)
}

// seal names settings: what was previewed is changed, and nothing that
// somebody else has chosen in the meantime.
func seal(s account.Settings) string {
	b, _ := json.Marshal(s) // of plain fields
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// errSettingsChanged says that the settings are no longer those previewed.
var errSettingsChanged = fault.New(fault.Conflict, "settings.changed_meanwhile")

func (p *Pages) saveSettings(w http.ResponseWriter, r *http.Request, s prove.Signed, f request.Form) error {
	before, next, ok, err := p.readSettings(w, r, s, f)
	if !ok {
		return err
	}
	if f.Get("seen") != seal(before) {
		return p.renderPreview(w, r, s, f, before, next, errSettingsChanged)
	}
	err = p.flow.Save(r.Context(), p.kit.Visitor(r), s, next)
	refused := fault.From(err)
	switch {
	case err == nil:
		p.kit.Done(w, r, settingsPath, "settings_saved")
		return nil
	case errors.Is(err, prove.ErrVerifyFirst):
		return act(admin.ChangeSettings(next), err)
	case refused.Kind == fault.Conflict:
		return p.renderPreview(w, r, s, f, before, next, refused)
	case refused.Field != "":
		return p.renderSettings(w, r, s, request.Status(err), typedIn(f), []*fault.Fault{refused})
	}
	return err
}
