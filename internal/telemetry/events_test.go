package telemetry_test

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"countersign/internal/domain/audit"
	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/domain/policy"
	"countersign/internal/front/request"
	"countersign/internal/prove"
	"countersign/internal/secret"
	"countersign/internal/telemetry"
)

func metrics() (*telemetry.Metrics, func(t *testing.T) string) {
	m := telemetry.New("v1", map[message.Channel]string{message.Email: "smtp", message.SMS: "twilio"})
	h := m.Handler(slog.New(slog.NewTextHandler(io.Discard, nil)), false)
	return m, func(t *testing.T) string { t.Helper(); return scrape(t, h, "") }
}

func TestEventsAreCountedByWhatTheyMean(t *testing.T) {
	t.Parallel()
	event := func(name audit.Name, refused, target string, details ...string) audit.Event {
		e := audit.Event{Name: name, Refused: refused, Target: target, Details: map[string]string{}, Account: "1", Identity: "i", Actor: audit.Actor{Name: "alice@example.com", Address: "203.0.113.9"}}
		for n := 0; n+1 < len(details); n += 2 {
			e.Details[details[n]] = details[n+1]
		}
		return e
	}
	for _, c := range []struct {
		event audit.Event
		want  []string
	}{
		{event(audit.ConsoleSignin, "", "s", "method", "password", "amr", "pwd"), []string{`sign_ins_total{method="password",outcome="ok"}`, `proofs_total{method="password",purpose="sign_in",result="ok"}`}},
		{event(audit.ConsoleSignin, "signin.wrong", "a***@e***.com"), []string{`sign_ins_total{method="password",outcome="signin.wrong"}`, `proofs_total{method="password",purpose="sign_in",result="signin.wrong"}`}},
		{event(audit.ConsoleSignin, "signin.disabled", ""), []string{`sign_ins_total{method="none",outcome="signin.disabled"}`}},
		{event(audit.ConsoleSignin, "", "s", "method", "virtual_mfa", "amr", "pwd otp mfa"), []string{`sign_ins_total{method="virtual_mfa",outcome="ok"}`, `proofs_total{method="virtual_mfa",purpose="sign_in",result="ok"}`}},
		{event(audit.ConsoleSignin, "code.wrong", "c", "method", "virtual_mfa"), []string{`sign_ins_total{method="virtual_mfa",outcome="code.wrong"}`, `proofs_total{method="virtual_mfa",purpose="sign_in",result="code.wrong"}`}},
		{event(audit.ConsoleSignin, "", "s", "method", "password", "amr", "pwd", "remembered", "d"), []string{`sign_ins_spared_total`}},
		{event(audit.ConsoleSignin, "", "s", "method", "passkey", "amr", "hwk mfa"), []string{`sign_ins_total{method="passkey",outcome="ok"}`, `passkey_ceremonies_total{ceremony="alone",result="ok"}`}},
		{event(audit.ConsoleSignin, "", "s", "method", "passkey", "amr", "pwd hwk mfa"), []string{`passkey_ceremonies_total{ceremony="prove",result="ok"}`}},
		{event(audit.ConsoleSignin, "passkey.refused", "", "method", "passkey", "alone", "yes", "why", "signature"), []string{`passkey_ceremonies_total{ceremony="alone",result="signature"}`, `sign_ins_total{method="passkey",outcome="passkey.refused"}`}},
		{event(audit.PasswordAccepted, "", "c"), []string{`proofs_total{method="password",purpose="sign_in",result="ok"}`}},
		{event(audit.IdentityVerify, "", string(policy.SignInScenario), "method", "sms"), []string{`proofs_total{method="sms",purpose="sign_in",result="ok"}`}},
		{event(audit.IdentityVerify, "", "change_password", "method", "u2f"), []string{`proofs_total{method="u2f",purpose="verification",result="ok"}`, `passkey_ceremonies_total{ceremony="prove",result="ok"}`}},
		{event(audit.IdentityVerify, "", "reset-password", "method", "recovery_code"), []string{`proofs_total{method="recovery_code",purpose="reset",result="ok"}`}},
		{event(audit.PasswordReset, "code.wrong", "c", "method", "virtual_mfa"), []string{`proofs_total{method="virtual_mfa",purpose="reset",result="code.wrong"}`}},
		{event(audit.MFABind, "", "d"), []string{`bindings_total{method="virtual_mfa",result="ok"}`, `audit_events_total{event="MFABind",result="done"}`}},
		{event(audit.UserMFABind, "code.wrong", "d"), []string{`bindings_total{method="virtual_mfa",result="code.wrong"}`, `audit_events_total{event="BindMFADevice",result="refused"}`}},
		{event(audit.PasskeyCreate, "", "k", "name", "Alice's phone"), []string{`passkey_ceremonies_total{ceremony="create",result="ok"}`, `bindings_total{method="passkey",result="ok"}`}},
		{event(audit.PasskeyCreate, "passkey.refused", "k", "why", "attestation"), []string{`passkey_ceremonies_total{ceremony="create",result="attestation"}`}},
		{event(audit.CodeBudgetEmpty, "", ""), []string{`audit_events_total{event="CodeBudgetEmpty",result="done"}`}},
		// What somebody asked for may be anything.
		{event(audit.ConsoleSignin, "signin.method", "", "method", "alice@example.com"), []string{`sign_ins_total{method="other",outcome="signin.method"}`}},
		{event(audit.ConsoleSignin, "a sentence about alice", "", "method", "sms"), []string{`sign_ins_total{method="sms",outcome="other"}`}},
	} {
		m, read := metrics()
		before := read(t)
		m.Recorded(c.event)
		after := read(t)
		for _, series := range c.want {
			if got := value(t, after, "countersign_"+series) - value(t, before, "countersign_"+series); got != 1 {
				t.Errorf("%s %s %v: %s rose by %v", c.event.Name, c.event.Refused, c.event.Details, series, got)
			}
		}
		for _, private := range []string{"alice", "203.0.113.9", "Alice", "a***@"} {
			if strings.Contains(after, private) {
				t.Errorf("%s: the metrics hold %q", c.event.Name, private)
			}
		}
	}
}

// A mistake of ours must not cost memory without end.
func TestLabelsStayFew(t *testing.T) {
	t.Parallel()
	m, read := metrics()
	for n := range 5000 {
		m.Recorded(audit.Event{Name: audit.Name(fmt.Sprintf("Event%d", n)), Refused: fmt.Sprintf("code.%d", n)})
		m.Recorded(audit.Event{Name: audit.ConsoleSignin, Refused: fmt.Sprintf("code.%d", n), Details: map[string]string{"method": fmt.Sprint("method", n)}})
		m.Timed(fmt.Sprintf("GET /x/%d", n), time.Second, "")
		m.Charged(factor.Method(fmt.Sprint(n)), prove.ChargeOne)
	}
	if lines := strings.Count(read(t), "\n"); lines > 2500 {
		t.Errorf("%d lines of metrics", lines)
	}
	if !strings.Contains(read(t), `countersign_audit_events_total{event="other",result="refused"}`) {
		t.Error("what is beyond is not counted")
	}
}

func TestTheRestIsCountedToo(t *testing.T) {
	t.Parallel()
	m, read := metrics()
	m.Timed("password.wait", 3*time.Second, secret.ErrBusy.Code)
	m.Timed("password.wait", time.Millisecond, "")
	m.Timed("password.hash", 50*time.Millisecond, "")
	m.Charged(factor.VirtualMFA, prove.ChargeAsked)
	m.Told(message.SMS, "dead")
	m.Done("expire", time.Unix(1_700_000_000, 0))
	m.Exported(3)
	m.Dropped(2)
	for _, status := range []int{200, 204, 303, 404, 429, 500, 503} {
		m.Answered(request.Exchange{Route: "POST /signin", Status: status, Took: 20 * time.Millisecond})
	}
	body := read(t)
	for series, want := range map[string]float64{
		`passwords_refused_total`:                                       1,
		`operation_seconds_count{operation="password.wait"}`:            2,
		`operation_seconds_bucket{operation="password.hash",le="0.05"}`: 1,
		`tries_total{charge="asked_again",method="virtual_mfa"}`:        1,
		`sends_total{channel="sms",outcome="dead",provider="twilio"}`:   1,
		`job_last_success_timestamp_seconds{task="expire"}`:             1.7e9,
		`trace_spans_total{outcome="exported"}`:                         3,
		`trace_spans_total{outcome="dropped"}`:                          2,
		`http_requests_total{route="POST /signin",status="2xx"}`:        2,
		`http_requests_total{route="POST /signin",status="3xx"}`:        1,
		`http_requests_total{route="POST /signin",status="4xx"}`:        2,
		`http_requests_total{route="POST /signin",status="5xx"}`:        2,
		`http_request_seconds_count{route="POST /signin"}`:              7,
		`http_request_seconds_bucket{route="POST /signin",le="0.01"}`:   0,
		`sign_ins_total{method="passkey",outcome="ok"}`:                 0,
	} {
		if got := value(t, body, "countersign_"+series); got != want {
			t.Errorf("%s: %v, want %v", series, got, want)
		}
	}
	if !strings.Contains(body, `countersign_build_info{go="go1.`) || !strings.Contains(body, `version="v1"} 1`) || !strings.Contains(body, "go_goroutines ") || !strings.Contains(body, "process_resident_memory_bytes ") {
		t.Error("the build, the runtime or the process is not there")
	}
}

func TestOpenMetricsIsSpoken(t *testing.T) {
	t.Parallel()
	m, _ := metrics()
	body := scrape(t, m.Handler(slog.New(slog.DiscardHandler), false), "application/openmetrics-text;version=1.0.0")
	if !strings.HasSuffix(body, "# EOF\n") || !strings.Contains(body, "# TYPE countersign_sign_ins counter\n") {
		t.Errorf("it ends in %q", body[max(0, len(body)-100):])
	}
}
