package console

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/sheet"
	"countersign/internal/flow/admin"
	"countersign/internal/front/web/page"
	"countersign/internal/prove"
)

// columns are those of the file of users. The first ones are what creating
// users reads.
var columns = []string{"name", "display_name", "email", "comments", "role", "upn", "id", "console_sign_in", "mfa_required", "mfa_devices", "mfa_due", "recovery_codes", "last_sign_in", "created", "passkeys", "u2f_keys"}

// writeUsers writes the file. Nothing is sent before there is something to
// send, so that a refusal can still be told.
func (p *Pages) writeUsers(w http.ResponseWriter, r *http.Request, s prove.Signed, asked listQuery) error {
	return p.kit.Long(w, r, page.Auditors, func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="users-`+p.kit.Now().UTC().Format("2006-01-02")+`.csv"`)
		out := bufio.NewWriterSize(w, 64<<10)
		if err := sheet.Write(out, columns...); err != nil {
			return err
		}
		err := p.flow.EachUser(r.Context(), p.kit.Visitor(r), s, asked.store(p.kit.Now()), func(u admin.Row) error { return sheet.Write(out, line(u)...) })
		if err != nil {
			return err
		}
		return out.Flush()
	})
}

func line(u admin.Row) []string {
	kinds := make([]string, len(u.Kinds))
	for i, k := range u.Kinds {
		kinds[i] = string(k)
	}
	signIn := string(u.Profile.State)
	if u.Profile.State == account.NoProfile {
		signIn = "none"
	}
	fields := []string{u.UserName, u.DisplayName, u.Email, u.Comments, string(u.Role), u.Name(), string(u.ID), signIn, yes(u.Profile.MFARequired), strings.Join(kinds, " "), yes(u.Due), strconv.Itoa(u.RecoveryCodes), stamp(u.LastSignInAt), stamp(u.CreatedAt), strconv.Itoa(u.Passkeys), strconv.Itoa(u.U2F)}
	for i, f := range fields {
		fields[i] = sheet.Cell(f)
	}
	return fields
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
