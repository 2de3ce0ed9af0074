package account_test

import (
	"errors"
	"testing"

	"countersign/internal/domain/account"
)

func TestRolesActOnNobodyAboveThem(t *testing.T) {
	t.Parallel()
	const stranger account.Role = "root"
	roles := []account.Role{account.Owner, account.Administrator, account.Auditor, account.User, stranger, ""}
	may := map[account.Role]string{ // whom they act on, in that order
		account.Owner: ".xxx..", account.Administrator: ".xxx..", account.Auditor: "......", account.User: "......", stranger: "......", "": "......",
	}
	for _, r := range roles {
		for n, other := range roles {
			if got := r.ActsOn(other); got != (may[r][n] == 'x') {
				t.Errorf("%q on %q: %v", r, other, got)
			}
			if r.ActsOn(other) && (!r.Administers() || r.Rank() < other.Rank()) {
				t.Errorf("%q acts on %q", r, other)
			}
		}
	}
	for r, want := range map[account.Role][2]bool{account.Owner: {true, true}, account.Administrator: {true, true}, account.Auditor: {false, true}, account.User: {}, stranger: {}, "": {}} {
		if got := [2]bool{r.Administers(), r.Audits()}; got != want {
			t.Errorf("%q administers, audits: %v", r, got)
		}
	}
}

func TestARoleThatAUserCanHave(t *testing.T) {
	t.Parallel()
	for _, r := range account.UserRoles {
		if got, err := account.ParseRole(string(r)); err != nil || got != r {
			t.Errorf("%q: %q, %v", r, got, err)
		}
	}
	for _, bad := range []string{"owner", "", "root", "Administrator", " user", "user\x00"} {
		if got, err := account.ParseRole(bad); !errors.Is(err, account.ErrRole) || got != "" {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
}

func TestOnlyAnActiveProfileSignsIn(t *testing.T) {
	t.Parallel()
	for state, want := range map[account.ProfileState]bool{account.ProfileActive: true, account.ProfileInactive: false, account.ProfileIdle: false, account.NoProfile: false, "Active": false} {
		if got := (account.Profile{State: state}).Enabled(); got != want {
			t.Errorf("%q: %v", state, got)
		}
	}
}
