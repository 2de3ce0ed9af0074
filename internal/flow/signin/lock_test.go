package signin_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/policy"
	"countersign/internal/flow/admin"
	"countersign/internal/prove"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

const guess = "not the password at all"

// locking has so many wrong passwords in a row lock a lane; nobody is asked
// for a device.
func (c *staff) locking(n int) {
	c.Settle(c.owner.Account, func(s *account.Settings) {
		s.MFAOperation, s.Password.LoginAttempts = account.Independent, n
	})
}

// guess gives wrong passwords, which are refused.
func (c *staff) guess(v prove.Visitor, i account.Identity, n int) {
	c.t.Helper()
	for range n {
		_, err := c.SignIn.Begin(ctx(), v, ram, i.Name(), guess, "")
		testkit.Want(c.t, "a wrong password", err, prove.ErrCredentials)
	}
}

func TestWrongPasswordsInARowLockTheirLaneForAnHour(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob := c.user("bob", nil)
		v := testkit.From(1)
		c.guess(v, bob, 1)
		c.Clock.Advance(10 * time.Minute)
		c.guess(v, bob, 1)
		c.Clock.Advance(50 * time.Minute)
		c.guess(v, bob, 1)
		if e := c.Events(bob, audit.PasswordLock); len(e) != 1 || e[0].Refused != "" {
			t.Errorf("events %+v", e)
		}
		c.refused("the right one at once", v, bob, prove.ErrCredentials)
		c.Clock.Advance(30 * time.Minute)
		c.guess(v, bob, 1) // does not prolong it
		c.Clock.Advance(30*time.Minute - time.Microsecond)
		c.refused("the right one just before its end", v, bob, prove.ErrCredentials)
		c.Clock.Advance(time.Microsecond)
		c.in(v, bob, nil)
		if len(c.Events(bob, audit.PasswordLock)) != 1 {
			t.Error("a lock is written down more than once")
		}
		c.guess(v, bob, 2)
		c.in(v, bob, nil)
	})
}

func TestAfterALockTheCountBeginsAnew(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob := c.user("bob", nil)
		v := testkit.From(1)
		c.guess(v, bob, 3)
		c.Clock.Advance(time.Hour)
		c.guess(v, bob, 2)
		c.in(v, bob, nil)
		c.guess(v, bob, 3)
		c.refused("locked again", v, bob, prove.ErrCredentials)
	})
}

func TestAStrangerLocksNobodyOut(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob := c.user("bob", nil)
		home, stranger := testkit.From(1), testkit.From(9)
		known := testkit.With(home, c.in(home, bob, nil).Devices...)
		c.guess(stranger, bob, 8)
		c.refused("the stranger's lane", stranger, bob, prove.ErrCredentials)
		known.Devices = c.in(known, bob, nil).Devices
		c.in(testkit.From(2), bob, nil)
		// Even from the network where he is: his browser is known.
		c.guess(home, bob, 8)
		c.refused("an unknown browser at home", home, bob, prove.ErrCredentials)
		known.Devices = c.in(known, bob, nil).Devices
		there := testkit.With(stranger, known.Devices...)
		known.Devices = c.in(there, bob, nil).Devices
		laptop := testkit.With(testkit.From(5), c.in(testkit.From(5), bob, nil).Devices...)
		// His own mistakes lock his browser alone.
		c.guess(known, bob, 3)
		c.refused("his browser", known, bob, prove.ErrCredentials)
		c.refused("his browser elsewhere", testkit.With(testkit.From(3), known.Devices...), bob, prove.ErrCredentials)
		c.in(testkit.From(4), bob, nil)
		c.in(laptop, bob, nil) // another of his browsers
		// Others have their own count.
		c.in(stranger, c.user("eve", nil), nil)
		c.Clock.Advance(time.Hour)
		c.in(known, bob, nil)
		c.in(stranger, bob, nil)
	})
}

func TestASuccessOrANewPasswordResetsTheLock(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob := c.user("bob", nil)
		v := testkit.From(1)
		for range 3 {
			c.guess(v, bob, 2)
			c.in(v, bob, nil)
		}
		c.guess(v, bob, 3)
		c.refused("locked", v, bob, prove.ErrCredentials)
		c.Clock.Advance(time.Minute)
		const next = "another otter, other vines"
		_, err := c.admin.SetSignIn(ctx(), c.Visitor, c.boss(admin.SetUserPassword(c.detail(bob))), bob.ID, admin.ProfileChange{Enable: true, Password: next})
		testkit.Want(t, "an administrator sets another", err, nil)
		p, err := c.SignIn.Begin(ctx(), v, ram, bob.Name(), next, "")
		if err != nil || p.Session == nil {
			t.Fatalf("the new password: %s, %v", p.Step, err)
		}
		if len(c.Events(bob, audit.PasswordLock)) != 1 {
			t.Error("the reset has locked")
		}
	})
}

func TestTheLockCountsTheSecondStepToo(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob, app := c.enrolled("bob", nil)
		v := testkit.From(1)
		c.guess(v, bob, 2)
		if p := c.at(v, bob); p.Step != policy.Verify { // the password was right
			t.Fatalf("at %s", p.Step)
		}
		c.guess(v, bob, 2)
		c.in(v, bob, app)
	})
}

func TestWhoeverIsSignedInIsToldThatTheLaneIsLocked(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob := c.user("bob", nil)
		v := testkit.From(1)
		s, err := c.SignIn.Who(ctx(), c.in(v, bob, nil).Token)
		testkit.Want(t, "who", err, nil)
		const next = "another otter, other vines"
		for range 3 {
			_, err = c.Self.ChangePassword(ctx(), v, s, guess, next)
			testkit.Want(t, "a wrong one", err, prove.ErrPasswordWrong)
		}
		_, err = c.Self.ChangePassword(ctx(), v, s, testkit.Password, next)
		testkit.Want(t, "the right one", err, prove.ErrTooManyPasswords)
		c.refused("the right one at the door", v, bob, prove.ErrCredentials)
	})
}

func TestTwentyWrongPasswordsAtOnceAreNoMoreThanTheBound(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, w *testkit.World) {
		c := newStaff(t, w)
		c.locking(3)
		bob := c.user("bob", nil)
		v := testkit.From(1)
		for _, err := range storetest.Parallel(20, func(int) error {
			_, err := c.SignIn.Begin(ctx(), v, ram, bob.Name(), guess, "")
			return err
		}) {
			testkit.Want(t, "a wrong password", err, prove.ErrCredentials)
		}
		windows, err := c.Read(ctx()).Windows("lock:"+string(bob.ID), c.Clock.Now())
		if err != nil || len(windows) != 1 || windows[0].Counted != 3 || !windows[0].Ends.Equal(c.Clock.Now().Add(time.Hour)) {
			t.Errorf("counted %+v, %v", windows, err)
		}
		if n := len(c.Events(bob, audit.PasswordLock)); n != 1 {
			t.Errorf("%d locks are written down", n)
		}
		if told := c.Told(bob.Email); fmt.Sprint(told) != "[password_locked]" {
			t.Errorf("told %v", told)
		}
		c.Clock.Advance(16 * time.Minute) // the network has its tries back
		// Of many right ones at once, none passes.
		for _, err := range storetest.Parallel(8, func(int) error {
			p, err := c.SignIn.Begin(ctx(), v, ram, bob.Name(), testkit.Password, "")
			if p.Session != nil {
				err = errors.New("a session")
			}
			return err
		}) {
			testkit.Want(t, "a right one", err, prove.ErrCredentials)
		}
		c.Clock.Advance(44 * time.Minute)
		c.in(v, bob, nil)
	})
}

func TestALockIsToldOnceADay(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(3)
		bob := c.user("bob", nil)
		for n := range 4 {
			c.guess(testkit.From(n), bob, 4)
		}
		if told, n := c.Told(bob.Email), len(c.Events(bob, audit.PasswordLock)); fmt.Sprint(told) != "[password_locked]" || n != 4 {
			t.Errorf("told %v of %d locks", told, n)
		}
		c.Clock.Advance(24 * time.Hour)
		c.guess(testkit.From(1), bob, 3)
		if told := c.Told(bob.Email); len(told) != 2 {
			t.Errorf("the day after: told %v", told)
		}
	})
}

func TestTheBoundIsThatOfTheSettingsNow(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(0)
		bob := c.user("bob", nil)
		v := testkit.From(1)
		c.guess(v, bob, 12)
		c.in(v, bob, nil)
		c.locking(10)
		c.guess(v, bob, 7)
		c.locking(5) // more than that are counted already
		c.refused("over the new bound", v, bob, prove.ErrCredentials)
		c.Clock.Advance(time.Hour)
		c.in(v, bob, nil)
		c.locking(3)
		c.guess(v, bob, 3)
		c.locking(0)
		c.in(v, bob, nil)
		c.locking(1)
		c.guess(v, bob, 1)
		c.refused("after one", v, bob, prove.ErrCredentials)
	})
}

func TestTheOwnerIsNeverLocked(t *testing.T) {
	onStaff(t, func(t *testing.T, c *staff) {
		c.locking(1)
		for range 5 {
			_, err := c.SignIn.Begin(ctx(), c.Visitor, prove.Door{}, alice, guess, "")
			testkit.Want(t, "a wrong password", err, prove.ErrCredentials)
		}
		c.Signed(c.Visitor, alice, nil)
	})
}
