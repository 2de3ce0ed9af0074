package message_test

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/message"
	"countersign/internal/locale"
)

var (
	service = message.Service{Name: "Countersign", URL: "https://id.example.com", Contact: "help@example.com"}
	at      = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	phone   = message.Recipient{Channel: message.SMS, To: "+8613800138000"}
	mailbox = message.Recipient{Channel: message.Email, To: "alice@example.com"}
)

func text(l *locale.Locale, s message.Service, why message.Purpose, code string) message.Message {
	return s.Code(l, "1234567890123456", phone, why, code, at.Add(-10*time.Minute), at)
}

// bound reads the last line of a text message as a browser does (WICG,
// origin-bound one-time codes delivered via SMS, §3.1).
func bound(text string) (host, code string, ok bool) {
	lines := strings.Split(text, "\n")
	last := lines[len(lines)-1]
	m := regexp.MustCompile(`^@([^\s@#]+) #(\S+)$`).FindStringSubmatch(last)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

func TestATextMessageSaysWhatTheCodeIsForAndWhereItBelongs(t *testing.T) {
	t.Parallel()
	port, ten := service, "0123456789"
	port.URL = "http://id.example.com:8443/base"
	for _, c := range []struct {
		s    message.Service
		why  message.Purpose
		code string
		want string
	}{
		{service, message.Purpose{Key: "signin"}, "123456", "123456 is your Countersign code to sign in. Do not share it.\n\n@id.example.com #123456"},
		{service, message.Purpose{Key: "signin"}, ten, ten + " is your Countersign code to sign in. Do not share it.\n\n@id.example.com #" + ten},
		{port, message.Purpose{Key: "signin"}, "000000", "000000 is your Countersign code to sign in. Do not share it.\n\n@id.example.com #000000"},
		{service, message.Purpose{Key: "unbind_virtual_mfa", Object: "Pixel"}, "123456", "123456 is your Countersign code to unbind the virtual MFA device \"Pixel\". Do not share it.\n\n@id.example.com #123456"},
		{service, message.Purpose{Key: "remove_phone", Object: "138****00"}, "123456", "123456 is your Countersign code to remove your phone \"138****00\". Do not share it.\n\n@id.example.com #123456"},
	} {
		m := text(locale.All[0], c.s, c.why, c.code)
		if m.Text != c.want {
			t.Errorf("got  %q\nwant %q", m.Text, c.want)
		}
		if m.Channel != message.SMS || m.To != phone.To || m.Kind != "code" || m.Subject != "" || m.HTML != "" || !m.ExpiresAt.Equal(at) || m.Account != "1234567890123456" {
			t.Errorf("%+v", m)
		}
		if host, code, ok := bound(m.Text); !ok || host != "id.example.com" || code != c.code {
			t.Errorf("a browser finds %q, %q, %v", host, code, ok)
		}
		if strings.Contains(m.Text, "://") {
			t.Errorf("a link: %q", m.Text)
		}
	}
}

func TestTheLastLineIsOursWhateverTheObjectIsCalled(t *testing.T) {
	t.Parallel()
	for _, object := range []string{
		"@evil.example #1", "x\n\n@evil.example #654321", "x\r\n@evil.example #654321", "x\u2028@evil.example #654321", "x\u2029@evil.example #6", "x\u0085@evil.example #6", "x\v@evil\f#6",
		strings.Repeat("a", 5000), strings.Repeat("電", 41), strings.Repeat("\n", 300), strings.Repeat("a\n", 300), "\n@evil.example #654321\n", "{{.Code}}", "<b>&amp;", "\"", "…", "\xff\xfe",
	} {
		for _, l := range locale.All {
			m := text(l, service, message.Purpose{Key: "unbind_virtual_mfa", Object: object}, "123456")
			lines := strings.FieldsFunc(m.Text, func(r rune) bool { return strings.ContainsRune("\n\r\v\f\u0085\u2028\u2029", r) })
			if host, code, ok := bound(m.Text); !ok || host != "id.example.com" || code != "123456" || len(lines) != 2 || strings.Count(m.Text, "\n") != 2 {
				t.Errorf("%s, %.30q: %q", l.Tag, object, m.Text)
			}
			if n := len([]rune(m.Text)); n > 200 {
				t.Errorf("%s, %.30q: %d characters", l.Tag, object, n)
			}
		}
	}
	long := text(locale.All[0], service, message.Purpose{Key: "unbind_virtual_mfa", Object: strings.Repeat("電", 41)}, "123456").Text
	if want := `"` + strings.Repeat("電", 39) + `…"`; !strings.Contains(long, want) {
		t.Errorf("a long name is shortened to %q", long)
	}
	if exact := text(locale.All[0], service, message.Purpose{Key: "unbind_virtual_mfa", Object: strings.Repeat("電", 40)}, "123456").Text; strings.Contains(exact, "…") {
		t.Errorf("a name that fits is shortened: %q", exact)
	}
}

// FuzzObject: no name of a device changes what a browser reads, or hides the code.
func FuzzObject(f *testing.F) {
	for _, s := range []string{"Pixel", "@evil #1", "a\n@evil #1", "\u2028@evil #1", "{{.}}", "\x00", strings.Repeat("x", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, object string) {
		m := text(locale.All[0], service, message.Purpose{Key: "signin", Object: object}, "123456")
		if host, code, ok := bound(m.Text); !ok || host != "id.example.com" || code != "123456" || !strings.HasPrefix(m.Text, "123456 is your Countersign code to sign in") {
			t.Errorf("%q: %q", object, m.Text)
		}
	})
}

// purposes are those that flows send codes for.
var purposes = []string{"signin", "confirm_email", "create_account", "attach_phone", "change_phone", "remove_phone", "change_email", "change_password", "bind_virtual_mfa",
	"unbind_virtual_mfa", "resynchronise", "recovery_codes", "protection_on", "protection_edit", "protection_off", "protection_sms", "end_sessions", "forget_remembered", "reset_password"}

func TestEveryPurposeHasItsWordsInEveryLanguage(t *testing.T) {
	t.Parallel()
	for _, key := range purposes {
		seen := map[string]string{}
		for _, l := range locale.All {
			for _, to := range []message.Recipient{phone, mailbox} {
				m := service.Code(l, "a", to, message.Purpose{Key: key, Object: "Pixel"}, "123456", at.Add(-10*time.Minute), at)
				if strings.Contains(m.Text, "purpose.") || strings.Contains(m.Text, "<no value>") || !strings.Contains(m.Text, "Pixel") || !strings.Contains(m.Text, "123456") || !strings.Contains(m.Text, "Countersign") {
					t.Errorf("%s, %s, %s: %q", key, l.Tag, to.Channel, m.Text)
				}
				if other := seen[m.Text]; other != "" {
					t.Errorf("%s by %s: %s is as %s", key, to.Channel, l.Tag, other)
				}
				seen[m.Text] = l.Tag
				if m.Locale != l.Tag || m.Params["code"] != "123456" || m.Params["service"] != "Countersign" || m.Params["minutes"] != "10" || !strings.Contains(m.Params["purpose"], "Pixel") {
					t.Errorf("%s, %s: %+v", key, l.Tag, m.Params)
				}
			}
		}
	}
}

func TestTheSentenceOfATextMessageIsInTheLanguageAsked(t *testing.T) {
	t.Parallel()
	for _, l := range locale.All[1:] {
		if m := text(l, service, message.Purpose{Key: "signin"}, "123456"); strings.Contains(m.Text, "is your") || strings.Contains(m.Text, "share") {
			t.Errorf("%s: %q", l.Tag, m.Text)
		}
	}
}

// administered are notices of what an administrator did, taken those of what
// may have taken the way in with it.
var (
	administered = []message.Kind{message.DeviceUnboundByAdmin, message.PasswordSetByAdmin, message.TicketMade, message.SignInDisabled, message.RoleChanged, message.PolicyChanged}
	taken        = []message.Kind{message.EmailChanged, message.PhoneChanged}
	byMail       = append([]message.Kind{message.SecondStepFailed, message.BudgetEmpty, message.DeviceBound, message.DeviceUnbound, message.PasswordChanged, message.RecoveryCodeUsed, message.RecoveryCodesMade,
		message.PhoneAttached, message.PhoneChanged, message.PhoneRemoved, message.EmailChanged, message.ProtectionOn, message.ProtectionChanged, message.ProtectionOff,
		message.PasswordLocked, message.PasskeyAdded, message.PasskeyRemoved, message.PasskeyCopied, message.U2FUpgraded, message.NewDeviceSignIn, message.PasswordReset, message.Secured,
		message.RememberedAdded, message.RememberedCopied, message.SecurityEmailBound, message.SecurityEmailChanged, message.SecurityEmailRemoved, message.RecoveryCancelled}, administered...)
	byText = []message.Kind{message.PhoneAttached, message.PhoneChanged, message.PhoneRemoved, message.EmailChanged}
)

const notMe = "https://id.example.com/notme/token-of-the-link"

func TestEveryNoticeHasItsWordsInEveryLanguage(t *testing.T) {
	t.Parallel()
	where := message.Circumstances{At: at, Address: "192.0.2.7", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", NotMe: notMe}
	for to, kinds := range map[message.Recipient][]message.Kind{mailbox: byMail, phone: byText} {
		for _, kind := range kinds {
			seen := map[string]string{}
			for _, l := range locale.All {
				i := account.Identity{ID: "i", Account: "a", Email: "alice@example.com", Locale: l.Tag}
				m := service.Notice(i, to, kind, where)
				if m.Channel != to.Channel || m.To != to.To || m.Locale != l.Tag || m.Kind != string(kind) || m.Account != "a" || !m.ExpiresAt.IsZero() {
					t.Errorf("%s: %+v", kind, m)
				}
				if bad := slices.ContainsFunc([]string{"." + string(kind), "<no value>", "{{"}, func(s string) bool { return strings.Contains(m.Subject+m.Text, s) }); bad || !strings.Contains(m.Text, "Countersign") {
					t.Errorf("%s by %s in %s: %q %q", kind, to.Channel, l.Tag, m.Subject, m.Text)
				}
				if other := seen[m.Text]; other != "" {
					t.Errorf("%s by %s: %s is as %s", kind, to.Channel, l.Tag, other)
				}
				seen[m.Text] = l.Tag
				if to.Channel == message.SMS {
					if m.Subject != "" || strings.ContainsAny(m.Text, "\n@#") || strings.Contains(m.Text, "://") || len([]rune(m.Text)) > 160 {
						t.Errorf("%s in %s: %q", kind, l.Tag, m.Text)
					}
					continue
				}
				parts := []string{notMe, "help@example.com", l.Time(at), l.T("mail.not_me.button")}
				switch {
				case slices.Contains(administered, kind):
					parts = append(parts, l.T("mail.not_you.administrator"))
					if strings.Contains(m.Text, "192.0.2.7") {
						t.Errorf("%s in %s says from where an administrator acted", kind, l.Tag)
					}
				case slices.Contains(taken, kind): // whoever reads it may have no way in
					parts = append(parts, "192.0.2.7", "Firefox", l.T("mail.not_you.taken"))
				case kind == message.PasskeyCopied: // nobody is told that nothing need be done
					parts = append(parts, "192.0.2.7", "Firefox", l.T("mail.passkey_copied.then"))
					if strings.Contains(m.Text, l.T("mail.was_you")) {
						t.Errorf("%s in %s: %q", kind, l.Tag, m.Text)
					}
				default:
					parts = append(parts, "192.0.2.7", "Firefox", l.T("mail.was_you"), l.T("mail.place"))
				}
				for _, part := range parts {
					if !strings.Contains(m.Text, part) {
						t.Errorf("%s in %s does not name %s: %q", kind, l.Tag, part, m.Text)
					}
				}
				asHTML(t, m, l.Tag)
			}
		}
	}
}

// asHTML checks that a mail says the same as HTML, and that opening it tells
// nobody.
func asHTML(t *testing.T, m message.Message, tag string) {
	t.Helper()
	if !strings.HasPrefix(m.HTML, "<!DOCTYPE html>") || !strings.Contains(m.HTML, `<html lang="`+tag+`">`) {
		t.Fatalf("%s: %.200q", m.Kind, m.HTML)
	}
	plain := html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(m.HTML, ""))
	for line := range strings.SplitSeq(m.Subject+"\n"+m.Text, "\n") {
		if !strings.Contains(plain, strings.TrimSpace(line)) {
			t.Errorf("%s in %s: the HTML does not say %q", m.Kind, tag, line)
		}
	}
	for _, bad := range []string{"<img", "<script", "<link", "url(", "@import", "src=", "<form", "onload"} {
		if strings.Contains(m.HTML, bad) {
			t.Errorf("%s: %s in the HTML", m.Kind, bad)
		}
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(m.HTML, -1) {
		if !strings.HasPrefix(link[1], service.URL+"/") || !strings.Contains(m.Text, html.UnescapeString(link[1])) {
			t.Errorf("%s links to %s", m.Kind, link[1])
		}
	}
}

// Names are people's own: what they write is text in a mail, not its form.
func TestAHostileNameIsTextInAMail(t *testing.T) {
	t.Parallel()
	i := account.Identity{ID: "i", Account: "a", UserName: `<img src=x>"><script>alert(1)</script>{{.}}`, Domain: "evil.example", Locale: "en"}
	m := service.Notice(i, mailbox, message.PasswordChanged, message.Circumstances{At: at, Address: "192.0.2.7", UserAgent: "<b>x", NotMe: "javascript:alert(1)"})
	for _, bad := range []string{"<img", "<script", "javascript:alert(1)\"", "<b>"} {
		if strings.Contains(m.HTML, bad) {
			t.Errorf("%s got through: %s", bad, m.HTML)
		}
	}
}

func TestADigestSaysHowOftenAndFromWhere(t *testing.T) {
	t.Parallel()
	for _, kind := range []message.Kind{message.SecondStepFailed, message.PasswordLocked} {
		for _, l := range locale.All {
			i := account.Identity{ID: "i", Account: "a", Email: "alice@example.com", Locale: l.Tag}
			many := service.Digest(i, mailbox, kind, message.Again{Count: 4711, From: []string{"192.0.2.7", "2001:db8::1", ""}, FirstAt: at, LastAt: at.Add(3 * time.Hour), NotMe: notMe})
			for _, part := range []string{"4711", "192.0.2.7, 2001:db8::1, " + l.T("mail.digest.others"), l.Time(at), l.Time(at.Add(3 * time.Hour)), notMe} {
				if !strings.Contains(many.Text, part) {
					t.Errorf("%s in %s does not name %s: %q", kind, l.Tag, part, many.Text)
				}
			}
			if many.Kind != string(kind.Digest()) || strings.Contains(many.Subject+many.Text, "<no value>") || strings.Contains(many.Subject+many.Text, "[") {
				t.Errorf("%+v", many)
			}
			asHTML(t, many, l.Tag)
			if once := service.Digest(i, mailbox, kind, message.Again{Count: 1, From: []string{"192.0.2.7"}, FirstAt: at, LastAt: at}); once.Text == many.Text || strings.Contains(once.Text, notMe) {
				t.Errorf("%q", once.Text)
			}
		}
	}
	if message.PasswordChanged.Digest() != "" {
		t.Error("a change of the password waits for a digest")
	}
}

func TestTheMailThatLeadsToANewPasswordHasItsLinkAndItsEnd(t *testing.T) {
	t.Parallel()
	const link = "https://id.example.com/reset/token-of-the-link"
	for _, l := range locale.All {
		m := service.Reset(account.Identity{ID: "i", Account: "a", UserName: "bob", Domain: "orchard.ram.localhost", Locale: l.Tag}, "bob@example.com", link, at, at.Add(time.Hour))
		if m.Kind != "reset_link" || m.To != "bob@example.com" || !m.ExpiresAt.Equal(at.Add(time.Hour)) || m.Locale != l.Tag || !strings.Contains(m.Text, link) || !strings.Contains(m.Text, "60") || !strings.Contains(m.Text, "bob@orchard.ram.localhost") {
			t.Errorf("%+v", m)
		}
		asHTML(t, m, l.Tag)
	}
}

func TestAMailOfACodeHasNoLastLineForBrowsers(t *testing.T) {
	t.Parallel()
	m := service.Code(locale.All[0], "a", mailbox, message.Purpose{Key: "change_email"}, "0123456789", at.Add(-10*time.Minute), at)
	if m.Subject != "Your Countersign code" || !strings.HasPrefix(m.Text, "0123456789 is your Countersign code to change your sign-in email.\n") || strings.Contains(m.Text, "#0123456789") {
		t.Errorf("%q %q", m.Subject, m.Text)
	}
	if strings.Contains(m.Subject, "0123") {
		t.Error("the code is in the subject, which screens show")
	}
}

func TestWhoHasAnAccountAlreadyIsToldByMail(t *testing.T) {
	t.Parallel()
	for name, compose := range map[string]func(l *locale.Locale, to string) message.Message{"sign up": service.SignUpAgain, "change": service.EmailInUse} {
		for _, l := range locale.All {
			m := compose(l, "bob@example.com")
			if m.Channel != message.Email || m.To != "bob@example.com" || m.Account != "" || m.Locale != l.Tag || !strings.Contains(m.Text, "https://id.example.com/signin") || strings.Contains(m.Text, "mail.") {
				t.Errorf("%s, %s: %+v", name, l.Tag, m)
			}
			if regexp.MustCompile(`\d{6}`).MatchString(fmt.Sprint(m.Subject, m.Text)) {
				t.Errorf("%s: a code in %q", name, m.Text)
			}
		}
	}
}

// What a thief who reads the mail would do is told to the phone too.
func TestUrgentNoticesAreThoseOfWhatAThiefWouldDo(t *testing.T) {
	t.Parallel()
	for kind, urgent := range map[message.Kind]bool{
		message.DeviceBound: true, message.DeviceUnbound: true, message.PasswordChanged: true, message.RecoveryCodeUsed: true, message.EmailChanged: true,
		message.ProtectionChanged: true, message.ProtectionOff: true, message.PasswordReset: true, message.Secured: true,
		message.NewDeviceSignIn: false, message.PolicyChanged: false, message.SecondStepAgain: false, message.LockedAgain: false, message.ResetLink: false,
		message.SecondStepFailed: false, message.BudgetEmpty: false, message.RecoveryCodesMade: false, message.ProtectionOn: false, message.SignUpKnown: false, message.EmailKnown: false,
		message.PhoneAttached: false, message.PhoneChanged: false, message.PhoneRemoved: false, // told to both numbers anyway
	} {
		if kind.Urgent() != urgent {
			t.Errorf("%s: urgent %v", kind, !urgent)
		}
	}
}

// An urgent notice fits a text message in every language.
func TestUrgentNoticesAreWrittenForThePhone(t *testing.T) {
	t.Parallel()
	who := account.Identity{Account: "1234567890123456", Email: "alice@example.com"}
	for _, l := range locale.All {
		who.Locale = l.Tag
		for _, kind := range []message.Kind{message.DeviceBound, message.DeviceUnbound, message.PasswordChanged, message.RecoveryCodeUsed, message.EmailChanged, message.ProtectionChanged, message.ProtectionOff, message.PasswordReset, message.Secured} {
			m := service.Notice(who, phone, kind, message.Circumstances{At: at, Address: "192.0.2.7", UserAgent: "Firefox"})
			if m.Channel != message.SMS || m.To != phone.To || m.Kind != string(kind) || m.Subject != "" || m.HTML != "" {
				t.Errorf("%s, %s: %+v", l.Tag, kind, m)
			}
			if m.Text == "" || strings.Contains(m.Text, "notice.") || strings.Contains(m.Text, "://") || len([]rune(m.Text)) > 200 {
				t.Errorf("%s, %s: %q", l.Tag, kind, m.Text)
			}
		}
	}
}
