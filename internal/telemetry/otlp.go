package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"countersign/internal/trace"
)

const (
	batchMost   = 512 // spans of one request to the collector
	queueMost   = 4096
	exportEvery = 5 * time.Second
	exportTries = 3
	exportTime  = 10 * time.Second // for one request
)

// A Collector sends spans to an OpenTelemetry collector, by OTLP/HTTP in JSON
// (OTLP 1.x). Spans that it cannot take in time are dropped, and counted:
// nobody who signs in waits for it.
type Collector struct {
	url      string
	resource []trace.Attribute
	client   *http.Client
	log      *slog.Logger
	metrics  *Metrics // nil: nobody counts
	queue    chan trace.Span
	every    time.Duration
}

// NewCollector returns one at a URL. resource says who sends.
func NewCollector(url string, resource []trace.Attribute, log *slog.Logger, metrics *Metrics) *Collector {
	return &Collector{url: url, resource: resource, log: log, metrics: metrics, queue: make(chan trace.Span, queueMost), every: exportEvery,
		client: &http.Client{Timeout: exportTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Keep takes a span that has ended: it is a trace.Tracer's. It never waits.
func (c *Collector) Keep(s trace.Span) {
	select {
	case c.queue <- s:
	default:
		c.dropped(1)
	}
}

func (c *Collector) dropped(n int) {
	if c.metrics != nil {
		c.metrics.Dropped(n)
	}
}

// Run sends what is kept until ctx ends, and then what is left.
func (c *Collector) Run(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	defer c.client.CloseIdleConnections()
	b := batch{c: c}
	for {
		select {
		case s := <-c.queue:
			if b.add(s); len(b.spans) < batchMost || b.tries > 0 {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportTime)
			defer cancel()
			for more := true; more; {
				select {
				case s := <-c.queue:
					b.add(s)
				default:
					more = false
				}
			}
			b.last = true
			b.send(last)
			return
		}
		b.send(context.WithoutCancel(ctx))
	}
}

// A batch is what goes to the collector next.
type batch struct {
	c      *Collector
	spans  []trace.Span
	tries  int  // of these spans, that failed
	failed bool // the last request did: said once
	last   bool // there is no later
}

// add keeps a span; while the collector is away, as many as fit.
func (b *batch) add(s trace.Span) {
	if len(b.spans) >= queueMost {
		b.c.dropped(1)
		return
	}
	b.spans = append(b.spans, s)
}

func (b *batch) send(ctx context.Context) {
	for len(b.spans) > 0 {
		part := b.spans[:min(batchMost, len(b.spans))]
		rejected, later, err := b.c.post(ctx, part)
		if err != nil && !b.failed {
			b.c.log.Warn("traces cannot be sent", "error", err.Error())
		}
		b.failed = err != nil
		if b.tries++; later && !b.last && b.tries < exportTries {
			return // with the next tick
		}
		if err != nil && rejected == 0 {
			rejected = len(part)
		}
		b.c.dropped(rejected)
		if b.c.metrics != nil {
			b.c.metrics.Exported(len(part) - rejected)
		}
		b.spans, b.tries = slices.Delete(b.spans, 0, len(part)), 0
	}
}

// post sends spans. later says that it may go better another time.
func (c *Collector) post(ctx context.Context, spans []trace.Span) (rejected int, later bool, err error) {
	body, err := json.Marshal(c.request(spans))
	if err != nil {
		return 0, false, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "countersign")
	res, err := c.client.Do(r)
	if err != nil {
		return 0, true, err
	}
	defer func() { _ = res.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	switch {
	case err != nil:
		return 0, true, err
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusGatewayTimeout:
		return 0, true, fmt.Errorf("the collector answers %d", res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return 0, false, fmt.Errorf("the collector answers %d", res.StatusCode)
	}
	return partial(said, len(spans))
}

// partial reads how many spans a collector did not take, of those it was sent.
func partial(body []byte, sent int) (rejected int, later bool, err error) {
	var answer struct {
		PartialSuccess struct {
			RejectedSpans json.Number `json:"rejectedSpans"` // protobuf's JSON writes 64 bits as text
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return 0, false, nil // 200 is what counts
	}
	n, _ := strconv.ParseInt(answer.PartialSuccess.RejectedSpans.String(), 10, 64)
	if n <= 0 {
		return 0, false, nil
	}
	return int(min(n, int64(sent))), false, errors.New("the collector takes some of the spans only")
}

// The words of OTLP (opentelemetry/proto/trace/v1), as its JSON writes them:
// ids in hexadecimal, 64 bits as text, enumerations as numbers.
type (
	otlpRequest struct {
		ResourceSpans []otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource     `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope otlpScope  `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpScope struct {
		Name string `json:"name"`
	}
	otlpSpan struct {
		TraceID    string          `json:"traceId"`
		SpanID     string          `json:"spanId"`
		ParentID   string          `json:"parentSpanId,omitempty"`
		Name       string          `json:"name"`
		Kind       int             `json:"kind"`
		Began      string          `json:"startTimeUnixNano"`
		Ended      string          `json:"endTimeUnixNano"`
		Attributes []otlpAttribute `json:"attributes,omitempty"`
		Status     otlpStatus      `json:"status"`
	}
	otlpStatus struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		Text   *string `json:"stringValue,omitempty"`
		Number *string `json:"intValue,omitempty"`
	}
)

const (
	kindInternal = 1
	kindServer   = 2
	kindClient   = 3
	statusError  = 2
)

func (c *Collector) request(spans []trace.Span) otlpRequest {
	list := make([]otlpSpan, len(spans))
	for n, s := range spans {
		o := otlpSpan{TraceID: s.TraceID(), SpanID: s.SpanID(), ParentID: s.ParentID(), Name: s.Name, Kind: kind(s),
			Began: strconv.FormatInt(s.Began.UnixNano(), 10), Ended: strconv.FormatInt(s.Began.Add(s.Took).UnixNano(), 10), Attributes: attributes(s.Attributes)}
		switch {
		case s.Failed:
			o.Status = otlpStatus{Message: s.Code, Code: statusError}
		case s.Code != "": // a refusal is an answer
			o.Attributes = append(o.Attributes, attributes([]trace.Attribute{trace.Text("countersign.refused", s.Code)})...)
		}
		list[n] = o
	}
	return otlpRequest{[]otlpResourceSpans{{otlpResource{attributes(c.resource)}, []otlpScopeSpans{{otlpScope{"countersign"}, list}}}}}
}

func kind(s trace.Span) int {
	switch {
	case s.Root && slices.ContainsFunc(s.Attributes, func(a trace.Attribute) bool { return a.Key == "http.route" }):
		return kindServer
	case strings.HasPrefix(s.Name, "send."):
		return kindClient
	}
	return kindInternal
}

func attributes(list []trace.Attribute) []otlpAttribute {
	out := make([]otlpAttribute, len(list))
	for n, a := range list {
		out[n].Key = a.Key
		if a.IsText {
			out[n].Value.Text = &a.Text
			continue
		}
		number := strconv.FormatInt(a.Number, 10)
		out[n].Value.Number = &number
	}
	return out
}
