package front_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/account"
	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/policy"
	"countersign/internal/testkit"
)

// letting has uma, who has an app, and her account let devices be remembered.
func letting(s *testkit.Site) (account.Identity, *testkit.App) {
	s.T.Helper()
	s.Account(alice, testkit.Password)
	settle(s, func(n *account.Settings) { n.Remember = true })
	uma := putStaff(s, s.Identity(alice), "uma", account.User)
	return uma, putDevice(s, uma, "Phone")
}

const theBox = `<input type="checkbox" id="remember" name="remember" value="1" aria-describedby="remember-hint">`

func TestTheBoxIsAtTheSecondStepAloneAndNotTicked(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma, app := letting(s)
		codes := putCodes(s, uma)
		k := softPhone(s)
		bindPasskey(s, uma, k)
		c := s.Client()
		first := atSecond(c, uma)
		at := first.Request.URL.RequestURI()
		says(t, first, theBox, "Remember this device and do not ask for 7 days", "Not on a shared computer.")
		says(t, c.Get(at+"&method=passkey"), theBox)
		code := c.Get(at + "&method=virtual_mfa")
		says(t, code, theBox)
		saysNot(t, c.Get(at+"&method=recovery_code"), `name="remember"`)
		saysNot(t, c.Get("/signin/ram"), `name="remember"`)
		// What was ticked is ticked when a code was wrong.
		wrong := code.Submit("/signin/verify", "code", app.WrongCode(), "remember", "1").Want(http.StatusUnauthorized)
		says(t, wrong, strings.TrimSuffix(theBox, ">")+" checked>")
		saysNot(t, code.Submit("/signin/verify", "code", app.WrongCode()), " checked>")
		if cookie(c, "remember") != "" {
			t.Error("a wrong code with it is remembered")
		}
		c.Get(at+"&method=recovery_code").Submit("/signin/verify", "code", codes[0], "remember", "1").Want(http.StatusSeeOther)
		if cookie(c, "remember") != "" {
			t.Error("a recovery code with it is remembered")
		}
		// Not in a step-up.
		saysNot(t, c.Get("/security/password").Want(http.StatusSeeOther).Follow(), `name="remember"`)
		// A key and the box.
		page := c.Get(atSecond(c, uma).Request.URL.RequestURI() + "&method=passkey")
		form := url.Values{"credential": {string(k.Get(optionsOn(page, "get")))}, "remember": {"1"}}
		for _, f := range hiddenField.FindAllStringSubmatch(passkeyForm.FindStringSubmatch(page.Body)[0], -1) {
			form.Set(f[1], f[2])
		}
		c.Post("/signin/verify", form).Want(http.StatusSeeOther)
		if cookie(c, "remember") == "" || !spares(s, uma, cookie(c, "remember"), testkit.Password) {
			t.Error("a key with it is not remembered")
		}
		// A wizard, an owner, and an account that lets none be.
		bo := putStaff(s, s.Identity(alice), "bo", account.User)
		saysNot(t, atDoor(s.Client(), door(bo.Account), "bo", testkit.Password).Follow().Want(http.StatusOK), `name="remember"`)
		s.PutApp(alice)
		saysNot(t, s.Client().Get("/signin").Submit("/signin", "username", alice, "password", testkit.Password).Follow().Want(http.StatusOK), `name="remember"`)
		settle(s, func(n *account.Settings) { n.Remember = false })
		saysNot(t, c.Get(atSecond(s.Client(), uma).Request.URL.RequestURI()), `name="remember"`)
		for tag, words := range map[string]string{"zh-CN": "记住此设备，7 天内不再要求验证", "ja": "このデバイスを記憶し、7日間は確認を省略する"} {
			settle(s, func(n *account.Settings) { n.Remember = true })
			c := s.Client()
			c.Header.Set("Accept-Language", tag)
			says(t, atSecond(c, uma), words)
		}
	})
}

func TestACookieThatIsNotOfThisBrowserAndIdentitySparesNothing(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma, app := letting(s)
		bo := putStaff(s, s.Identity(alice), "bo", account.User)
		boApp := putDevice(s, bo, "Phone")
		s.Account("bea@example.com", testkit.Password)
		namesake := putStaff(s, s.Identity("bea@example.com"), "uma", account.User)
		settleOf(s, namesake, func(n *account.Settings) { n.Remember = true })
		putDevice(s, namesake, "Phone")
		c, other := s.Client(), s.Client()
		ticks(c, uma, app)
		ticks(other, bo, boApp)
		good, bos := cookie(c, "remember"), cookie(other, "remember")
		series, rest, _ := strings.Cut(good, ".")
		boSeries, boRest, _ := strings.Cut(bos, ".")
		made := func(n byte) string { return strings.Repeat(string(rune('A'+n)), 42) + "A" }
		for what, value := range map[string]string{
			"none": "", "truncated": good[:len(good)-1], "the series": series, "the series and nothing": series + ".", "the secret": rest, "the other way round": rest + "." + series, "forged": made(1) + "." + made(2), "a forged series": made(3) + "." + rest,
			"of somebody else": bos, "somebody else's series": boSeries + "." + rest, "longer": good + "." + good, "of lower case": strings.ToLower(good), "long": strings.Repeat("A", 4000),
		} {
			if spares(s, uma, value, testkit.Password) {
				t.Errorf("%s spares the second step", what)
			}
		}
		if spares(s, bo, good, testkit.Password) || spares(s, namesake, good, testkit.Password) {
			t.Error("it spares somebody else")
		}
		// The name of it is not that of another cookie of ours.
		for _, name := range []string{"device", "session", "browser"} {
			c := s.Client()
			setCookie(c, name, good)
			if r := atDoor(c, door(uma.Account), "uma", testkit.Password); !strings.HasPrefix(r.Header.Get("Location"), "/signin/verify") {
				t.Errorf("as %s: %q", name, r.Header.Get("Location"))
			}
		}
		// None of that has cost anybody their device.
		if !spares(s, bo, bos, testkit.Password) || !spares(s, uma, good, testkit.Password) {
			t.Fatal("a device was lost")
		}
		// But her own series with another secret has: only one who has seen it knows it.
		ticks(c, uma, app)
		series, _, _ = strings.Cut(cookie(c, "remember"), ".")
		if spares(s, uma, series+"."+boRest, testkit.Password) || spares(s, uma, cookie(c, "remember"), testkit.Password) {
			t.Error("her series with another secret leaves the device as it was")
		}
		told(t, s, uma.Email, "remembered_copied")
	})
}

func TestTheCookieIsOfTheBrowserAndGoesWithSigningOut(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma, app := letting(s)
		c := s.Client()
		r := atSecond(c, uma).Submit("/signin/verify", "code", codeOf(app, s), "remember", "1").Want(http.StatusSeeOther)
		of := func(r testkit.Reply) (set *http.Cookie) {
			for _, one := range r.Cookies() {
				if one.Name == "countersign_remember" {
					set = one
				}
			}
			return set
		}
		if k := of(r); k == nil || k.MaxAge > 7*24*3600 || k.MaxAge < 7*24*3600-60 || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || len(k.Value) != 87 {
			t.Errorf("the cookie: %v", k)
		}
		s.Pass(time.Hour)
		if k := of(atDoor(c, door(uma.Account), "uma", testkit.Password)); k == nil || k.MaxAge > 7*24*3600-3600 || k.MaxAge < 7*24*3600-3660 {
			t.Errorf("after its use: %v", k)
		}
		before := cookie(c, "remember")
		out := c.Get("/security").Submit("/signout").Want(http.StatusSeeOther)
		if k := of(out); k == nil || k.MaxAge >= 0 || spares(s, uma, before, testkit.Password) {
			t.Errorf("signed out: %v", k)
		}
		// Where the session was over before: the browser is not to be remembered either.
		ticks(c, uma, app)
		s.Pass(7 * time.Hour)
		before = cookie(c, "remember")
		c.Post("/signout", url.Values{"csrf": {c.CSRF()}}).Want(http.StatusSeeOther)
		if spares(s, uma, before, testkit.Password) {
			t.Error("signed out of a session that was over, and remembered")
		}
		// A sign-in by a key alone needs no remembering, and ends none.
		k := softPhone(s)
		bindPasskey(s, uma, k)
		ticks(c, uma, app)
		before = cookie(c, "remember")
		submitPasskey(c, func(options json.RawMessage) []byte { return k.Get(options) }).Want(http.StatusSeeOther)
		if cookie(c, "remember") != before || !spares(s, uma, before, testkit.Password) {
			t.Error("a sign-in by a key ended it")
		}
	})
}

func TestAProgramIsRemembered(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma, app := letting(s)
		c := s.Client()
		name := "uma@" + string(uma.Account)
		begin := func(remembered string) map[string]any {
			t.Helper()
			return call(c, "/api/v1/signin", http.StatusOK, "username", name, "password", testkit.Password, "remembered_device", remembered)
		}
		verify := func(body string) map[string]any {
			t.Helper()
			return object(t, post(c, "/api/v1/signin/verify", strings.ReplaceAll(body, "CODE", codeOf(app, s))).Want(http.StatusOK))
		}
		o := begin("")
		o = verify(`{"ceremony":"` + text(o["ceremony"]) + `","method":"virtual_mfa","code":"CODE","remember":true}`)
		works(t, c, o)
		first := text(o["remembered_device"])
		if len(first) != 87 || text(o["remembered_until"]) == "" {
			t.Fatalf("got %v", o)
		}
		o = begin(first)
		works(t, c, o)
		next := text(o["remembered_device"])
		if next == first || next[:43] != first[:43] {
			t.Errorf("got %v after %s", o, first)
		}
		r := c.Request("GET", "/api/v1/session", "")
		r.Header.Set("Authorization", "Bearer "+text(o["session"]))
		who := object(t, c.Send(r).Want(http.StatusOK))
		if amr, _ := who["amr"].([]any); len(amr) != 1 || amr[0] != "pwd" || who["acr"] != policy.LevelPassword {
			t.Errorf("it says %v", who)
		}
		// Signing out of it ends the device, although nothing shows that here.
		r = c.Request("DELETE", "/api/v1/session", "")
		r.Header.Set("Authorization", "Bearer "+text(o["session"]))
		c.Send(r).Want(http.StatusNoContent)
		if o := begin(next); text(o["status"]) != "verify" || o["remembered_device"] != nil {
			t.Errorf("signed out: %v", o)
		}
		// Nor does the session of the tick need to show it.
		o = verify(`{"ceremony":"` + text(begin("")["ceremony"]) + `","method":"virtual_mfa","code":"CODE","remember":true}`)
		again := text(o["remembered_device"])
		r.Header.Set("Authorization", "Bearer "+text(o["session"]))
		c.Send(r).Want(http.StatusNoContent)
		if o := begin(again); text(o["status"]) != "verify" {
			t.Errorf("signed out: %v", o)
		}
		for _, without := range []string{`"remember":false`, `"code2":""`} {
			o = verify(`{"ceremony":"` + text(begin("")["ceremony"]) + `","method":"virtual_mfa","code":"CODE",` + without + `}`)
			if o["remembered_device"] != nil {
				t.Errorf("%s: %v", without, o)
			}
		}
		for _, value := range []string{"x", strings.Repeat("A", 87), first + "."} {
			if o := begin(value); text(o["status"]) != "verify" {
				t.Errorf("%.20s: %v", value, o)
			}
		}
		call(c, "/api/v1/signin", http.StatusUnprocessableEntity, "username", name, "password", testkit.Password, "remembered_device", strings.Repeat("A", 129))
	})
}

func TestRememberedDevicesAreListedAndRemoved(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma, app := letting(s)
		c, other := s.Client(), s.Client()
		other.Header.Set("User-Agent", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15")
		for _, one := range []*testkit.Client{c, other} {
			ticks(one, uma, app)
			atDoor(one, door(uma.Account), "uma", testkit.Password).Want(http.StatusSeeOther)
		}
		says(t, c.Get("/security").Want(http.StatusOK), "Remembered devices", "2 remembered", `href="/security/devices"`)
		page := c.Get("/security/devices").Want(http.StatusOK)
		says(t, page, "Safari", "About 127.0.0.1", "This browser", "removing it signs you out", "Until", "Remove all")
		if strings.Count(page.Body, "This browser") != 1 || strings.Count(page.Body, `name="device"`) != 2 {
			t.Error(page.Body)
		}
		list, err := s.DB.Read(t.Context()).RememberedDevices(uma.Account, uma.ID)
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		theirs, here := list[0], list[1] // the one used last first
		// It takes the proof that it spares at sign-in.
		asked := page.Submit("/security/devices/forget", "device", theirs.ID).Want(http.StatusSeeOther)
		if !strings.HasPrefix(asked.Header.Get("Location"), "/verify?c=") || !spares(s, uma, cookie(other, "remember"), testkit.Password) {
			t.Fatalf("to %q", asked.Header.Get("Location"))
		}
		says(t, asked.Follow(), "to remove remembered devices")
		list, err = s.DB.Read(t.Context()).RememberedDevices(uma.Account, uma.ID)
		if err != nil || list[0].ID != theirs.ID {
			t.Fatal(list, err)
		}
		asked.ProveByApp(app).Want(http.StatusSeeOther)
		says(t, c.Get("/security/devices").Want(http.StatusOK), "The device is no longer remembered.")
		if other.Get("/security").StatusCode == http.StatusOK || c.Get("/security").StatusCode != http.StatusOK {
			t.Error("the session there must end, and this one not")
		}
		page.Submit("/security/devices/forget", "device", theirs.ID).Want(http.StatusNotFound)
		page.Submit("/security/devices/forget", "device", "x").Want(http.StatusNotFound)
		out := page.Submit("/security/devices/forget", "device", here.ID).Want(http.StatusSeeOther)
		says(t, out.Follow().Want(http.StatusOK), "This device is no longer remembered. Sign in again.")
		if c.Get("/security").StatusCode == http.StatusOK || cookie(c, "remember") != "" {
			t.Error("what rested on the device lives on")
		}
		says(t, as(s, uma, factor.VirtualMFA).Get("/security/devices").Want(http.StatusOK), "No device is remembered.")
		says(t, signedInAs(s).Get("/security/devices").Want(http.StatusOK), "Devices of the account owner are never remembered")
		settle(s, func(n *account.Settings) { n.Remember = false })
		c = as(s, uma, factor.VirtualMFA)
		says(t, c.Get("/security/devices").Want(http.StatusOK), "do not let devices be remembered")
		saysNot(t, c.Get("/security").Want(http.StatusOK), `id="row-devices"`)
	})
}

// signedInAs is the owner signed in.
func signedInAs(s *testkit.Site) *testkit.Client { return as(s, s.Identity(alice), factor.Email) }

func TestAdministratorsSeeRememberedDevicesAndForgetThem(t *testing.T) {
	both(t, func(t *testing.T, s *testkit.Site) {
		uma, app := letting(s)
		c := s.Client()
		ticks(c, uma, app)
		boss := signedInAs(s)
		at := "/console/users/" + string(uma.ID)
		other := s.Client()
		ticks(other, uma, app)
		both, err := s.DB.Read(t.Context()).RememberedDevices(uma.Account, uma.ID)
		if err != nil || len(both) != 2 {
			t.Fatalf("%v, %v", both, err)
		}
		shown := boss.Get(at + "/sessions").Want(http.StatusOK)
		says(t, shown, "Remembered devices", "About 127.0.0.1", "Until", `value="`+both[0].ID+`"`)
		if n := strings.Count(shown.Body, "Forget all browsers"); n != 1 {
			t.Errorf("%d ways to forget all", n)
		}
		one := shown.Submit(at+"/devices/forget", "device", both[0].ID).Want(http.StatusSeeOther)
		if strings.HasPrefix(one.Header.Get("Location"), "/verify") {
			one.ProveBySent("email", alice)
		}
		says(t, boss.Get(at+"/sessions").Want(http.StatusOK), "The browser is no longer remembered")
		if left, err := s.DB.Read(t.Context()).RememberedDevices(uma.Account, uma.ID); err != nil || len(left) != 1 || left[0].ID != both[1].ID {
			t.Errorf("of %v are left %v, %v", both, left, err)
		}
		if e, err := s.DB.Read(t.Context()).History(uma.Account, uma.ID, 0, 9, audit.RememberedForget); err != nil || len(e) != 1 || e[0].Target != both[0].ID || e[0].Actor.Name == uma.Name() {
			t.Errorf("events %v, %v", e, err)
		}
		boss.Get(at+"/sessions").Submit(at+"/devices/forget", "device", both[0].ID).Want(http.StatusNotFound)
		says(t, boss.Get(at+"/devices/forget").Want(http.StatusOK), "none is remembered any more")
		asked := boss.Get(at + "/devices/forget").Submit(at + "/devices/forget").Want(http.StatusSeeOther)
		if strings.HasPrefix(asked.Header.Get("Location"), "/verify") {
			asked.ProveBySent("email", alice)
		}
		list, err := s.DB.Read(t.Context()).RememberedDevices(uma.Account, uma.ID)
		if err != nil || len(list) != 0 || spares(s, uma, cookie(c, "remember"), testkit.Password) {
			t.Errorf("%v, %v", list, err)
		}
		says(t, boss.Get(at+"/activity").Want(http.StatusOK), "Device remembered for 7 days")
	})
}
