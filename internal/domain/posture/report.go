package posture

import (
	"slices"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/sheet"
)

// ReportEvery is how often a new credential report is made at most.
const ReportEvery = 4 * time.Hour

// ReportRoot is what the credential report calls the owner.
const ReportRoot = "<root>"

// ReportColumns are those of the credential report, as the documented system
// has them.
var ReportColumns = slices.Concat(
	[]string{"user", "user_creation_time", "user_last_logon", "password_exist", "password_active", "password_last_changed", "password_next_rotation", "mfa_active"},
	keyColumns("access_key_1"), keyColumns("access_key_2"))

func keyColumns(key string) []string {
	return []string{key + "_exist", key + "_active", key + "_last_rotated", key + "_last_used"}
}

// Credentials are what the credential report says of one identity.
type Credentials struct {
	Identity account.Identity
	Profile  account.Profile // of RAM users
	MFA      bool            // a device is bound
	MaxAge   int             // days that a user's password is good; 0: for ever
}

// What stands where there is no time and no answer.
const (
	never = "-"
	none  = "N/A"
)

// Fields are the line of the report, in the order of its columns. There are no
// access keys yet.
func (c Credentials) Fields() []string {
	i := c.Identity
	line := []string{UserCell(i), stamp(i.CreatedAt), stamp(i.LastSignInAt)}
	switch {
	case i.IsOwner():
		line = append(line, yes(true), none, stamp(i.PasswordChangedAt), never, yes(c.MFA))
	case c.Profile.State == account.NoProfile:
		line = append(line, yes(false), none, none, none, none)
	case i.PasswordHash == "":
		line = append(line, yes(false), yes(false), none, none, yes(c.MFA))
	default:
		next := never
		if c.MaxAge > 0 {
			next = stamp(i.PasswordChangedAt.Add(time.Duration(c.MaxAge) * 24 * time.Hour))
		}
		line = append(line, yes(true), yes(c.Profile.Enabled()), stamp(i.PasswordChangedAt), next, yes(c.MFA))
	}
	for range 2 {
		line = append(line, yes(false), none, none, none)
	}
	return line
}

// UserCell is what the report calls an identity.
func UserCell(i account.Identity) string {
	if i.IsOwner() {
		return ReportRoot
	}
	return sheet.Cell(i.Name())
}

func yes(b bool) string {
	if b {
		return "TRUE"
	}
	return "FALSE"
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return never
	}
	return t.UTC().Format(time.RFC3339)
}
