package front_test

import (
	"context"
	"net/http"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/domain/factor"
	"countersign/internal/flow/admin"
	"countersign/internal/flow/selfservice"
	"countersign/internal/prove"
	"countersign/internal/store"
	"countersign/internal/testkit"
)

// mailOf is an address of the scene's user alone.
func (sc *scene) mailOf(name string) string { return name + "." + sc.uma.UserName + "@mail.example" }

// linkedBy has the user ask for a link to a new password, and follows it to
// where the button is.
func (sc *scene) linkedBy() testkit.Reply {
	sc.t.Helper()
	putMailbox(sc.s, sc.uma, sc.mailOf("her"))
	forgets(sc.t, sc.s, sc.uma.Name())
	path := mailedLink(sc.t, sc.s, sc.mailOf("her"), "reset_link", "/reset/")
	return sc.s.Client().Get(path).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
}

// asksForALink asks for one and opens it, up to the second factor.
func asksForALink(sc *scene, _ context.Context) {
	sc.linkedBy().Submit("/reset").Follow().Submit("/reset/verify", "code", codeOf(sc.app, sc.s)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
}

// resetsByLink sets another password by one.
func resetsByLink(sc *scene, _ context.Context) {
	ask := sc.linkedBy().Submit("/reset").Follow().Want(http.StatusOK)
	form := ask.Submit("/reset/verify", "code", codeOf(sc.app, sc.s)).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	sc.now = fresh
	form.Submit("/reset/password", "new_password", sc.now).Want(http.StatusSeeOther)
}

// activation has an administrator send a link to another phone than the one
// that was taken off, and opens it.
func (sc *scene) activation(ctx context.Context) testkit.Reply {
	sc.t.Helper()
	before, err := prove.PhoneOf(sc.s.DB.Read(ctx), sc.uma)
	sc.must(err)
	sc.s.Put(func(tx *store.Tx) error {
		return tx.RemovePhone(sc.uma.Account, sc.uma.ID, before.ID, store.ErrNoRow)
	})
	d, err := sc.s.Admin.User(ctx, sc.boss(), sc.uma.ID)
	sc.must(err)
	number := account.Phone(strings.Replace(string(before.Number), "+86138", "+86139", 1))
	sc.must(sc.s.Admin.Activate(ctx, sc.v, sc.boss(admin.SendActivation(d, number)), sc.uma.ID, number))
	return sc.s.Client().Get(activationOf(sc.t, sc.s, string(number))).Want(http.StatusOK)
}

func looksAtActivation(sc *scene, ctx context.Context) { sc.activation(ctx) }

func activates(sc *scene, ctx context.Context) {
	form := sc.activation(ctx)
	form.Submit(form.Request.URL.Path).Want(http.StatusSeeOther)
}

// mailboxOf is the security email as it is now.
func (sc *scene) mailboxOf() store.SecurityEmail {
	sc.t.Helper()
	e, err := prove.SecurityEmailOf(sc.s.DB.Read(sc.t.Context()), sc.uma)
	sc.must(err)
	return e
}

// typesMailbox names another security email in session B; a code is on its way.
func (sc *scene) typesMailbox(ctx context.Context, to string) (s prove.Signed, id string) {
	sc.t.Helper()
	s = sc.who(sc.b, selfservice.SecurityEmailAction(sc.mailboxOf()))
	id, err := sc.self.ChangeSecurityEmail(ctx, sc.v, s, to)
	sc.must(err)
	return s, id
}

func typesMailbox(sc *scene, ctx context.Context) { sc.typesMailbox(ctx, sc.mailOf("her")) }

func bindsMailbox(sc *scene, ctx context.Context) {
	to := sc.mailOf("new")
	s, id := sc.typesMailbox(ctx, to)
	_, token, err := sc.self.ConfirmContact(ctx, sc.v, s, id, sc.s.SentCode(to))
	sc.holds(sc.b, token, err)
	if got := mailbox(sc.s, sc.uma); got != to {
		sc.t.Errorf("bound is %q", got)
	}
}

func changesMailbox(sc *scene, ctx context.Context) {
	putMailbox(sc.s, sc.uma, sc.mailOf("her"))
	bindsMailbox(sc, ctx)
}

func removesMailbox(sc *scene, ctx context.Context) {
	putMailbox(sc.s, sc.uma, sc.mailOf("her"))
	e := sc.mailboxOf()
	token, err := sc.self.RemoveSecurityEmail(ctx, sc.v, sc.who(sc.b, selfservice.RemoveSecurityEmailAction(e)), e.ID)
	sc.holds(sc.b, token, err)
}

// losesMailbox has an administrator take the security email off.
func losesMailbox(sc *scene, ctx context.Context) {
	putMailbox(sc.s, sc.uma, sc.mailOf("her"))
	d, err := sc.s.Admin.User(ctx, sc.boss(), sc.uma.ID)
	sc.must(err)
	e := sc.mailboxOf()
	_, err = sc.s.Admin.Unbind(ctx, sc.v, sc.boss(admin.UnbindUser(d, e.ID)), sc.uma.ID, admin.Unbinding{Method: factor.Email, Device: e.ID, Check: "in_person", Reason: "lost"})
	sc.must(err)
}

// bindsMailboxThere binds one by the pages in the session that rests on a
// remembered device, having shown the app: the device ends, and the session
// goes on by what it has shown itself.
func bindsMailboxThere(sc *scene, _ context.Context) {
	form := sc.a.Get("/security/email/change").ProveByApp(sc.app).Want(http.StatusSeeOther).Follow().Want(http.StatusOK)
	confirm := form.Submit("/security/email/change", "email", sc.mailOf("new")).Want(http.StatusSeeOther).Follow()
	confirm.Submit("/security/email/confirm", "code", sc.s.SentCode(sc.mailOf("new"))).Want(http.StatusSeeOther)
}
