// Package oteltest is an OpenTelemetry collector for tests: it reads spans by
// the JSON mapping of OTLP, and refuses what is not in it.
package oteltest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A Collector takes spans at URL.
type Collector struct {
	URL string

	t     testing.TB
	mu    sync.Mutex
	spans []Span
	raw   []byte
}

// A Span is one that has arrived, as a collector understands it.
type Span struct {
	TraceID, SpanID, ParentSpanID, Name string

	Kind         int
	Began, Ended time.Time
	Status       Status
	Resource     map[string]any
	attributes   map[string]any
}

// Status is how the span went: 0 unset, 2 an error.
type Status struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}

// Text is an attribute that holds text.
func (s Span) Text(key string) string { v, _ := s.attributes[key].(string); return v }

// Number is an attribute that holds a number; -1: there is none.
func (s Span) Number(key string) int64 {
	if v, ok := s.attributes[key].(int64); ok {
		return v
	}
	return -1
}

// New starts a collector.
func New(t testing.TB) *Collector {
	c := &Collector{t: t}
	web := httptest.NewServer(c)
	t.Cleanup(web.Close)
	c.URL = web.URL + "/v1/traces"
	return c
}

// Spans are those that have arrived, in order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Raw is all that was sent.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.raw)
}

func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
		c.t.Errorf("%s %s of %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var body json.RawMessage
	err := json.NewDecoder(r.Body).Decode(&body)
	var spans []Span
	if err == nil {
		spans, err = Read(body)
	}
	if err != nil {
		c.t.Errorf("a collector cannot read it: %v\n%s", err, body)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.spans, c.raw = append(c.spans, spans...), append(c.raw, body...)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

// keyValue is opentelemetry.proto.common.v1.KeyValue.
type keyValue struct {
	Key   string `json:"key"`
	Value struct {
		StringValue *string `json:"stringValue"`
		IntValue    *string `json:"intValue"` // 64 bits are text
		BoolValue   *bool   `json:"boolValue"`
	} `json:"value"`
}

// request is opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest,
// as far as anybody may need it.
type request struct {
	ResourceSpans []struct {
		Resource struct {
			Attributes []keyValue `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []struct {
			Scope struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"scope"`
			Spans []struct {
				TraceID           string     `json:"traceId"`
				SpanID            string     `json:"spanId"`
				ParentSpanID      string     `json:"parentSpanId"`
				Flags             uint32     `json:"flags"`
				Name              string     `json:"name"`
				Kind              int        `json:"kind"`
				StartTimeUnixNano string     `json:"startTimeUnixNano"`
				EndTimeUnixNano   string     `json:"endTimeUnixNano"`
				Attributes        []keyValue `json:"attributes"`
				Status            Status     `json:"status"`
			} `json:"spans"`
		} `json:"scopeSpans"`
	} `json:"resourceSpans"`
}

// Read reads a request by the mapping: fields in lower camel case and no
// others, ids in hexadecimal, 64 bits as text, enumerations as numbers.
func Read(body []byte) (spans []Span, err error) {
	var r request
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, err
	}
	for _, rs := range r.ResourceSpans {
		resource, err := read(rs.Resource.Attributes)
		if err != nil {
			return nil, err
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				out := Span{TraceID: s.TraceID, SpanID: s.SpanID, ParentSpanID: s.ParentSpanID, Name: s.Name, Kind: s.Kind, Status: s.Status, Resource: resource}
				if err := ids(s.TraceID, s.SpanID, s.ParentSpanID); err != nil {
					return nil, err
				}
				if out.attributes, err = read(s.Attributes); err != nil {
					return nil, err
				}
				began, err1 := strconv.ParseInt(s.StartTimeUnixNano, 10, 64)
				ended, err2 := strconv.ParseInt(s.EndTimeUnixNano, 10, 64)
				if err1 != nil || err2 != nil || ended < began || s.Name == "" || s.Kind < 1 || s.Kind > 5 || s.Status.Code < 0 || s.Status.Code > 2 {
					return nil, fmt.Errorf("span %q: from %q to %q, kind %d, status %d", s.Name, s.StartTimeUnixNano, s.EndTimeUnixNano, s.Kind, s.Status.Code)
				}
				out.Began, out.Ended = time.Unix(0, began), time.Unix(0, ended)
				spans = append(spans, out)
			}
		}
	}
	return spans, nil
}

func ids(traceID, spanID, parent string) error {
	for _, id := range []struct {
		text   string
		length int
		must   bool
	}{{traceID, 16, true}, {spanID, 8, true}, {parent, 8, false}} {
		b, err := hex.DecodeString(id.text)
		if err != nil || id.must && len(b) != id.length || len(b) != 0 && len(b) != id.length {
			return fmt.Errorf("%q is no id of %d bytes", id.text, id.length)
		}
	}
	return nil
}

func read(list []keyValue) (map[string]any, error) {
	out := map[string]any{}
	for _, a := range list {
		switch v := a.Value; {
		case a.Key == "" || out[a.Key] != nil:
			return nil, fmt.Errorf("attribute %q is there twice, or has no name", a.Key)
		case v.StringValue != nil && v.IntValue == nil && v.BoolValue == nil:
			out[a.Key] = *v.StringValue
		case v.IntValue != nil && v.StringValue == nil && v.BoolValue == nil:
			n, err := strconv.ParseInt(*v.IntValue, 10, 64)
			if err != nil {
				return nil, err
			}
			out[a.Key] = n
		default:
			return nil, fmt.Errorf("attribute %q has no one value", a.Key)
		}
	}
	return out, nil
}
