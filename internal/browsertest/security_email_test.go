package browsertest_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
)

const herMailbox = "carol@mail.example"

// A user binds a security email, and signs in by it when the app is out of
// reach; an administrator's link makes a phone the security phone.
func TestTheTourOfTheSecurityEmail(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All {
		t.Run(l.Tag, func(t *testing.T) {
			t.Parallel()
			c := founded(t, l.Tag)
			c.hires("carol,Carol Ek,carol@example.com\n")
			c.saysHowToReachIt()
			carol := c.member("carol")
			carol.joins()
			carol.bindsAMailbox()
			carol.signsInByMail()
			carol.forgetsHerPassword()
			c.sendsALink(carol)
			carol.activatesThePhone()
		})
	}
}

// reception is how the administrators are reached.
const reception = "+49 30 901820, Reception, Mon–Fri 8:00–18:00"

func (c *company) saysHowToReachIt() {
	c.T.Helper()
	c.Visit("/console/settings")
	c.Type("#contact", reception)
	c.previews()
	c.saves()
	c.Visit("/console/settings")
	c.shows("#contact", reception)
}

func (m *member) bindsAMailbox() {
	m.T.Helper()
	m.state("security-email", "state.not_bound")
	m.Follow("#row-security-email .button")
	m.On("/security/email", "row.security_email")
	m.Says("security_email.profile", "Email", "carol@example.com")
	m.Look("security-email-none")
	m.Follow("[href='/security/email/change']")
	m.On("/security/email/change", "security_email.bind")
	m.Type("#email", "carol@gmial.com")
	m.Follow(browsertest.Submit)
	m.Says("security_email.meant", "Typed", "carol@gmial.com", "Meant", "carol@gmail.com")
	m.shows("#email", "carol@gmial.com")
	m.Look("security-email-meant")
	m.Type("#email", herMailbox)
	m.Follow(browsertest.Submit)
	m.On("/security/email/confirm", "confirm_new.title.email")
	m.Look("security-email-confirm")
	m.Type("#code", m.codeTo(herMailbox))
	m.Follow(browsertest.Submit)
	m.On("/security/email", "row.security_email")
	m.Says("done.security_email_bound")
	m.Look("security-email")
	m.told(herMailbox, message.SecurityEmailBound)
	m.Visit("/security")
	m.state("security-email", "state.confirmed")
}

func (m *member) signsInByMail() {
	m.T.Helper()
	m.leaves()
	m.enters()
	m.On("/signin/verify", "second.title")
	m.follow("method.another")
	m.On("/signin/methods", "method.choose")
	m.Says("method.email.help", "Destination", account.MaskEmail(herMailbox))
	m.Look("methods-mailbox")
	m.follow("method.none")
	m.On("/signin/help", "help.title")
	m.Says("help.administrator.unbinds")
	if said := m.L.T("help.contact") + " " + reception; !strings.Contains(m.Text("main"), said) {
		m.T.Errorf("it does not say %q", said)
	}
	m.Look("help-user")
	m.Follow("[href*='method=email']")
	m.On("/signin/verify", "second.title")
	m.answers(herMailbox)
	m.On("/security", "security.title.user")
	m.Visit("/security/virtual-mfa/replace") // the mailbox changes no device
	m.On("/verify", "verify.title")
	m.follow("method.another")
	m.On("/verify/methods", "method.choose")
	m.follow("method.none")
	m.On("/verify/help", "help.title")
	m.Says("help.mailbox")
	m.Look("help-verify")
}

// forgetsHerPassword gets a link to the mailbox that she has bound, which does
// not count as the second factor: that is asked for.
func (m *member) forgetsHerPassword() {
	m.T.Helper()
	m.Visit("/signin/ram")
	m.Follow(".alt a[href^='/forgot']")
	m.Type("#username", m.name)
	m.Follow(browsertest.Submit)
	m.On("/forgot", "forgot.sent.title")
	link := ""
	for _, one := range m.inbox(herMailbox) {
		if _, rest, ok := strings.Cut(one.Text, m.Site.URL+"/reset/"); ok && link == "" {
			link = "/reset/" + strings.Fields(rest)[0]
		}
	}
	m.Visit(link)
	m.On("/reset", "reset.title")
	m.Follow(browsertest.Submit)
	m.On("/reset/verify", "reset.verify.title")
	if strings.Contains(m.Text("main"), m.L.T("method.email")) {
		m.T.Error("the mailbox that the link came to is offered as a proof")
	}
	m.Type("#code", m.app.Next())
	m.Follow(browsertest.Submit)
	m.On("/reset/password", "reset.password.title")
	m.Type("#new_password", newer)
	m.Follow(browsertest.Submit)
	m.On("/signin/ram/"+m.domain(), "ram.title")
	m.Says("done.password_reset")
	m.told(herMailbox, message.PasswordReset)
	m.Visit("/security") // the link signs nobody in
	m.On("/signin/ram/"+m.domain(), "ram.title")
}

func (c *company) sendsALink(m *member) {
	c.T.Helper()
	c.app.Wait(11 * time.Minute)
	boss := &member{person: c.person}
	c.Visit("/console/users/" + boss.id(m) + "/authentication")
	c.Says("user.phone.none")
	c.Look("user-contacts")
	c.Follow("#row-security-phone .button")
	c.Says("user.phone.binds")
	c.Type("#phone", string(mobile)) // with its country
	c.Look("user-phone")
	c.Follow("main form .button:not(.button-secondary)")
	c.proves("purpose.send_activation")
	c.Says("done.activation_sent")
	c.Says("user.contact.pending")
	c.Look("user-phone-pending")
}

var activation = regexp.MustCompile(`/activate/[\w-]+`)

// activatesThePhone opens the link on the phone: a browser that has never been
// here. Looking at it binds nothing.
func (m *member) activatesThePhone() {
	m.T.Helper()
	link := ""
	for _, one := range m.inbox(string(mobile)) {
		if path := activation.FindString(one.Text); path != "" && link == "" {
			link = path
		}
	}
	m.Tab = browsertest.Open(m.T, m.Site, m.L.Tag)
	m.Visit(link)
	m.Says("activate.title")
	m.Look("activate")
	m.Screen(390, true)
	m.Reload()
	bound := func() int {
		n, err := m.Site.DB.Read(m.T.Context()).PhoneIdentities(mobile)
		if err != nil {
			m.T.Fatal(err)
		}
		return n
	}
	if n := bound(); n != 0 {
		m.T.Errorf("looking at the link binds the phone: %d", n)
	}
	m.Follow(browsertest.Submit)
	m.On("/activated", "activate.done")
	if n := bound(); n != 1 {
		m.T.Errorf("the phone is that of %d", n)
	}
	m.Look("activated")
	m.told("carol@example.com", message.PhoneAttached)
	m.Visit(link)
	m.Status(410)
}
