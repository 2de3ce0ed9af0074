// Package telemetry is what an operator watches the server by: metrics, the
// access log, and spans for a collector. Nothing in it names anybody: no
// identity, no account, no address but that of the access log.
package telemetry

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"countersign/internal/domain/factor"
	"countersign/internal/domain/message"
	"countersign/internal/front/request"
	"countersign/internal/prove"
	"countersign/internal/secret"
)

// Buckets, in seconds. A request at rest takes about a millisecond, one that
// hashes a password fifty, and one that queues seconds.
var (
	requestBuckets   = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	operationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 90}
)

// Metrics counts what happens. Every label is of a known, small set.
type Metrics struct {
	registry *prometheus.Registry

	signIns   *prometheus.CounterVec // outcome, method
	spared    prometheus.Counter
	proofs    *prometheus.CounterVec // purpose, method, result
	passkeys  *prometheus.CounterVec // ceremony, result
	bindings  *prometheus.CounterVec // method, result
	events    *prometheus.CounterVec // event, result
	charges   *prometheus.CounterVec // method, charge
	sends     *prometheus.CounterVec // channel, provider, outcome
	requests  *prometheus.CounterVec // route, status
	latency   *prometheus.HistogramVec
	operation *prometheus.HistogramVec
	refused   prometheus.Counter // passwords
	jobs      *prometheus.GaugeVec
	spans     *prometheus.CounterVec

	providers map[message.Channel]string
	reasons   known
	names     known
}

// New returns metrics of a build. providers says who sends on a channel.
func New(version string, providers map[message.Channel]string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), providers: providers}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "countersign_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "countersign_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.signIns = counter("sign_ins_total", "Sign-ins by how they ended: ok, or the code of the refusal; and by the method that ended them.", "outcome", "method")
	m.spared = counter("sign_ins_spared_total", "Sign-ins without a second step, because the browser is remembered.").WithLabelValues()
	m.proofs = counter("proofs_total", "Proofs offered, by what for (sign_in, verification, reset), method, and result: ok, or the code of the refusal.", "purpose", "method", "result")
	m.passkeys = counter("passkey_ceremonies_total", "Passkey ceremonies: create, prove (second step or verification), alone (sign-in without a name), by result: ok, or why not.", "ceremony", "result")
	m.bindings = counter("bindings_total", "Second factors bound, by method and result: ok, or the code of the refusal.", "method", "result")
	m.events = counter("audit_events_total", "Events recorded in audit chains, by name, and whether something was done or refused.", "event", "result")
	m.charges = counter("tries_total", "Tries of passwords and short codes, by what was charged for them before they were checked.", "method", "charge")
	m.sends = counter("sends_total", "Attempts to send messages, by channel, provider and outcome: sent, retry, dead.", "channel", "provider", "outcome")
	m.requests = counter("http_requests_total", "Requests answered, by route and class of the status.", "route", "status")
	m.latency = histogram("http_request_seconds", "Time to answer a request, by route.", requestBuckets, "route")
	m.operation = histogram("operation_seconds", "Time that steps within a request take: the wait for a password hash and the hash, database writes and each of their transactions with the wait for it, sends by channel.", operationBuckets, "operation")
	m.refused = counter("passwords_refused_total", "Passwords that were refused because the queue of hashes was full, or the wait too long.").WithLabelValues()
	m.spans = counter("trace_spans_total", "Spans of traces, by what became of them: exported, dropped.", "outcome")
	m.jobs = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "countersign_job_last_success_timestamp_seconds", Help: "When a job last succeeded on this node. Some run on one node at a time: take the newest."}, []string{"task"})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "countersign_build_info", Help: "1, by version."}, []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.jobs, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.begin()
	return m
}

// begin has what is looked at first be there at zero: a series that appears
// with its first event hides it from rate().
func (m *Metrics) begin() {
	for _, method := range methods {
		m.signIns.WithLabelValues(ok, string(method))
		m.proofs.WithLabelValues("sign_in", string(method), ok)
	}
	m.signIns.WithLabelValues(prove.ErrCredentials.Code, string(factor.Password))
	m.signIns.WithLabelValues(factor.ErrCodeWrong.Code, string(factor.VirtualMFA))
	for _, ceremony := range []string{"create", "prove", "alone"} {
		m.passkeys.WithLabelValues(ceremony, ok)
	}
	for _, method := range []factor.Method{factor.VirtualMFA, factor.Passkey, factor.SMS, factor.Email} {
		m.bindings.WithLabelValues(string(method), ok)
	}
	for _, c := range prove.Charges {
		if c != prove.ChargePassword {
			m.charges.WithLabelValues(string(factor.VirtualMFA), string(c))
		}
	}
	m.charges.WithLabelValues(string(factor.Password), string(prove.ChargePassword))
	for channel := range m.providers {
		for _, outcome := range []string{"sent", "retry", "dead"} {
			m.sends.WithLabelValues(string(channel), m.provider(channel), outcome)
		}
	}
	for operation := range operations {
		m.operation.WithLabelValues(operation)
	}
	m.watched()
	m.spans.WithLabelValues("exported")
	m.spans.WithLabelValues("dropped")
}

// operations are the steps that are timed: spans of other names are routes.
var operations = map[string]bool{
	"password.wait": true, "password.hash": true,
	"store.write": true, "store.transaction": true, "store.begin": true,
	"send.email": true, "send.sms": true,
}

// Timed counts a step: it is a trace.Tracer's Timed.
func (m *Metrics) Timed(name string, took time.Duration, code string) {
	if !operations[name] {
		return
	}
	m.operation.WithLabelValues(name).Observe(took.Seconds())
	if name == "password.wait" && code == secret.ErrBusy.Code {
		m.refused.Inc()
	}
}

// Answered counts a request.
func (m *Metrics) Answered(x request.Exchange) {
	m.requests.WithLabelValues(x.Route, class(x.Status)).Inc()
	m.latency.WithLabelValues(x.Route).Observe(x.Took.Seconds())
}

func class(status int) string {
	switch status / 100 {
	case 2:
		return "2xx"
	case 3:
		return "3xx"
	case 4:
		return "4xx"
	}
	return "5xx"
}

// Charged counts the try of a password or a code: it is a prove.Prover's.
func (m *Metrics) Charged(method factor.Method, c prove.Charge) {
	m.charges.WithLabelValues(methodLabel(string(method)), string(c)).Inc()
}

// Told counts a send: it is a delivery.Worker's.
func (m *Metrics) Told(channel message.Channel, outcome string) {
	m.sends.WithLabelValues(string(channel), m.provider(channel), outcome).Inc()
}

func (m *Metrics) provider(channel message.Channel) string {
	if p := m.providers[channel]; p != "" {
		return p
	}
	return "none"
}

// Done notes that a job succeeded.
func (m *Metrics) Done(job string, at time.Time) {
	m.jobs.WithLabelValues(job).Set(float64(at.UnixMilli()) / 1000)
}

// Exported counts spans that a collector took.
func (m *Metrics) Exported(n int) { m.spans.WithLabelValues("exported").Add(float64(n)) }

// Dropped counts spans that were lost.
func (m *Metrics) Dropped(n int) { m.spans.WithLabelValues("dropped").Add(float64(n)) }

// ok is the result of what was done.
const ok = "ok"

var methods = []factor.Method{factor.Password, factor.Email, factor.SMS, factor.VirtualMFA, factor.RecoveryCode, factor.Ticket, factor.Passkey, factor.U2F}

// methodLabel is a method as a label. Events keep what somebody asked for,
// which may be anything.
func methodLabel(m string) string {
	switch {
	case m == "":
		return "none"
	case factor.Method(m).Strength() == 0:
		return "other"
	}
	return m
}
