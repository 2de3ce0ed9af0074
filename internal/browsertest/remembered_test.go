package browsertest_test

import (
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
)

// A user has two browsers remembered, is not asked in them, and has them
// forgotten again, one from the other.
func TestTheTourOfRememberedDevices(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			c := founded(t, l.Tag)
			c.hires("carol,Carol Ek,carol@example.com\n")
			c.settles(func(s *account.Settings) { s.Remember = true })
			carol := c.member("carol")
			carol.joins()
			carol.hasTheBrowserRemembered()
			carol.isNotAsked()
			elsewhere := &member{&person{Tab: browsertest.Open(t, c.Site, l.Tag), app: carol.app, password: carol.password}, carol.name}
			elsewhere.ticksTheBox()
			carol.forgetsAnother(elsewhere)
			carol.forgetsHere()
		})
	}
}

// ticksTheBox has the browser remembered with the next code.
func (m *member) ticksTheBox() {
	m.T.Helper()
	m.enters()
	m.On("/signin/verify", "second.title")
	m.Click("label[for=remember]")
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.On("/security", "security.title.user")
}

func (m *member) hasTheBrowserRemembered() {
	m.T.Helper()
	m.state("devices", "row.devices.count", "Count", 0)
	m.Follow("#row-devices .button")
	m.On("/security/devices", "row.devices")
	m.Says("devices.none")
	m.Look("devices-none")
	m.leaves()
	m.enters()
	m.On("/signin/verify", "second.title")
	m.Says("remember.label")
	m.Says("remember.hint")
	if m.ticked() {
		m.T.Error("the box is ticked before anybody has ticked it")
	}
	m.Look("second-remember")
	m.Click("label[for=remember]")
	m.Type("#code", m.app.Wrong(0))
	m.Follow(browsertest.Submit)
	m.Refuses(401, "fault.code.wrong")
	if !m.ticked() {
		m.T.Error("a wrong code unticks the box")
	}
	m.Look("second-remember-wrong")
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.On("/security", "security.title.user")
	m.state("devices", "row.devices.count", "Count", 1)
	m.told("carol@example.com", message.RememberedAdded)
	m.Follow("#row-devices .button")
	m.Says("devices.place", "Address", "127.0.0.1")
}

func (m *member) ticked() bool {
	m.T.Helper()
	return browsertest.Eval[bool](m.Tab, "document.querySelector('#remember').checked")
}

// isNotAsked comes back the next day, and then wants to change something.
func (m *member) isNotAsked() {
	m.T.Helper()
	m.app.Wait(24 * time.Hour)
	m.Visit("/security/devices")
	m.On("/signin/ram/"+m.domain(), "ram.title")
	m.types()
	m.On("/security/devices", "row.devices")
	m.Says("sessions.this")
	m.Says("devices.rests")
	m.Visit("/security/virtual-mfa/replace") // the device spares the sign-in alone
	m.On("/verify", "verify.title")
	if browsertest.Eval[int](m.Tab, "document.querySelectorAll('#remember').length") > 0 {
		m.T.Error("a verification offers to remember")
	}
}

// forgetsAnother removes another browser that is remembered: it is asked again there.
func (m *member) forgetsAnother(elsewhere *member) {
	m.T.Helper()
	m.Visit("/security/devices")
	m.Look("devices")
	m.Follow(".row:last-of-type [name=device]")
	m.On("/verify", "verify.title")
	m.Says("purpose.forget_remembered")
	m.Look("verify-forget-device")
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.On("/security/devices", "row.devices")
	m.Says("done.device_forgotten")
	if n := browsertest.Eval[int](m.Tab, "document.querySelectorAll('.rows .row').length"); n != 1 {
		m.T.Errorf("%d devices are left", n)
	}
	elsewhere.Forget("countersign_session")
	elsewhere.enters()
	elsewhere.On("/signin/verify", "second.title")
	if elsewhere.ticked() {
		m.T.Error("the box remembers that it was ticked")
	}
}

// forgetsHere ends what rests on it.
func (m *member) forgetsHere() {
	m.T.Helper()
	m.Follow(".rows [name=device]")
	m.On("/signin/ram/"+m.domain(), "ram.title")
	m.Says("done.device_forgotten_here")
	m.Look("device-forgotten-here")
	m.types()
	m.On("/signin/verify", "second.title")
}
