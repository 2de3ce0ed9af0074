package smpp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/store/storetest"
)

// A realSMSC is testdata/smsc.pl, whose SMPP was written by others.
type realSMSC struct {
	t       *testing.T
	address string
	stdin   io.Writer
	told    chan map[string]string // closed with the process
}

func startSMSC(t *testing.T) *realSMSC {
	t.Helper()
	t.Parallel()
	if err := exec.Command("perl", "-MNet::SMPP", "-e", "1").Run(); err != nil {
		storetest.Missing(t, "no Net::SMPP for Perl, Debian's package libnet-smpp-perl: run the tests by `make test`")
	}
	cmd := exec.Command("perl", "testdata/smsc.pl")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &realSMSC{t: t, stdin: stdin, told: make(chan map[string]string, 100)}
	lines := bufio.NewScanner(stdout)
	if lines.Scan() {
		s.address = net.JoinHostPort("127.0.0.1", lines.Text())
	}
	go func() {
		defer close(s.told)
		for lines.Scan() {
			var line map[string]string
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				line = map[string]string{"command": lines.Text()}
			}
			s.told <- line
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close() // which ends it
		for range s.told {
		}
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("smsc.pl: %v\n%s", err, complaints.String())
		}
	})
	if s.address == "" {
		t.Fatal("smsc.pl does not listen")
	}
	return s
}

// does sets a mode, and waits until it is.
func (s *realSMSC) does(mode string) {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, mode+"\n"); err != nil {
		s.t.Fatal(err)
	}
	s.saw("mode")
}

// saw waits for a command to come to the SMSC, past the others.
func (s *realSMSC) saw(command string) map[string]string {
	s.t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case line, ok := <-s.told:
			if !ok {
				s.t.Fatalf("smsc.pl ended before %s", command)
			}
			if line["command"] == command {
				return line
			}
		case <-deadline:
			s.t.Fatalf("no %s", command)
		}
	}
}

// client returns a Client of the SMSC.
func (s *realSMSC) client(change func(*Config)) *Client {
	c := Config{Address: s.address, SystemID: "countersign", Password: password, SystemType: "VMS", Source: "MySite", Now: time.Now}
	if change != nil {
		change(&c)
	}
	client := New(c)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := client.Close(ctx); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
	return client
}

func (s *realSMSC) sends(c *Client, text, ids string) {
	s.t.Helper()
	got, err := c.Send(s.t.Context(), Submission{To: number, Text: text})
	if err != nil || strings.Join(got, " ") != ids {
		s.t.Errorf("sent as %q, %v; want %q", got, err, ids)
	}
}

func TestRealSMSCTakesMessages(t *testing.T) {
	s := startSMSC(t)
	c := s.client(nil)
	if _, err := c.Send(t.Context(), Submission{To: number, Text: text, Expires: time.Now().Add(10 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
	expect := func(got map[string]string, want ...string) {
		t.Helper()
		for i := 0; i < len(want); i += 2 {
			if got[want[i]] != want[i+1] {
				t.Errorf("%s is %q, want %q", want[i], got[want[i]], want[i+1])
			}
		}
	}
	expect(s.saw("bind_transceiver"), "system_id", "countersign", "system_type", "VMS", "interface_version", "52",
		"addr_ton", "0", "addr_npi", "0", "address_range", "")
	one := s.saw("submit_sm")
	expect(one, "text", text, "service_type", "", "source_addr_ton", "5", "source_addr_npi", "0", "source_addr", "MySite",
		"dest_addr_ton", "1", "dest_addr_npi", "1", "destination_addr", number[1:], "esm_class", "0", "protocol_id", "0",
		"priority_flag", "0", "schedule_delivery_time", "", "registered_delivery", "1", "replace_if_present_flag", "0",
		"data_coding", "0", "sm_default_msg_id", "0", "udh", "")
	if v := one["validity_period"]; v != "000000001000000R" && v != "000000000959000R" {
		t.Errorf("validity_period %q", v)
	}

	s.sends(c, "Ihr Code: 4€ [x] {y} ^~|\\ ÄÖÜßé à Δ@£_\n", "00000002")
	expect(s.saw("submit_sm"), "text", "Ihr Code: 4€ [x] {y} ^~|\\ ÄÖÜßé à Δ@£_\n", "data_coding", "0", "validity_period", "")
	s.sends(c, "验证码 482915 😀", "00000003")
	expect(s.saw("submit_sm"), "text", "验证码 482915 😀", "data_coding", "8")

	for _, text := range []string{strings.Repeat("0123456789€", 30), strings.Repeat("验证码😀", 30)} {
		ids, err := c.Send(t.Context(), Submission{To: number, Text: text})
		if err != nil || len(ids) != 3 {
			t.Fatalf("%q, %v", ids, err)
		}
		var joined strings.Builder
		first := ""
		for i := range ids {
			part := s.saw("submit_sm")
			joined.WriteString(part["text"])
			if i == 0 {
				first = part["udh"]
			}
			if !strings.HasPrefix(first, "050003") || first[8:10] != "03" {
				t.Fatalf("header %s", first)
			}
			expect(part, "esm_class", "64", "udh", first[:11]+string(rune('1'+i)))
		}
		if joined.String() != text {
			t.Errorf("arrived as %q", joined.String())
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	s.saw("unbind")
}

// Every letter of GSM 03.38, as an encoder that is not ours knows it.
func TestRealSMSCReadsTheWholeAlphabet(t *testing.T) {
	s := startSMSC(t)
	c := s.client(nil)
	letters := strings.ReplaceAll(gsmLetter, "\x1b", "")
	for r := range gsmExtension {
		letters += string(r)
	}
	if _, err := c.Send(t.Context(), Submission{To: number, Text: letters}); err != nil {
		t.Fatal(err)
	}
	if got := s.saw("submit_sm"); got["text"] != letters || got["data_coding"] != "0" {
		t.Errorf("arrived as %q, data_coding %s", got["text"], got["data_coding"])
	}
}

func TestRealSMSCRefuses(t *testing.T) {
	s := startSMSC(t)
	c := s.client(nil)
	s.does("refuse " + number[1:])
	_, err := c.Send(t.Context(), Submission{To: number, Text: text})
	var refused *StatusError
	if !errors.As(err, &refused) || refused.Status != 0x0B || refused.Command != "submit_sm" || !Permanent(err) {
		t.Errorf("refused: %v", err)
	}
	s.does("throttle 1")
	if _, err = c.Send(t.Context(), Submission{To: "+41791234568", Text: text}); !errors.As(err, &refused) || refused.Status != Throttled || Permanent(err) || Setup(err) {
		t.Errorf("throttled: %v", err)
	}
	s.does("accept")
	s.sends(s.client(nil), text, "00000003") // the other one pauses

	s.does("password other")
	_, err = s.client(nil).Send(t.Context(), Submission{To: number, Text: text})
	if !errors.As(err, &refused) || refused.Status != 0x0E || refused.Command != "bind_transceiver" || !Setup(err) || Permanent(err) {
		t.Errorf("wrong password: %v", err)
	}
	s.does("password " + password)
	s.sends(s.client(nil), text, "00000004")
}

func TestRealSMSCAnswersInAnotherOrder(t *testing.T) {
	s := startSMSC(t)
	c := s.client(nil)
	s.does("slow 10")
	var all sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]bool{}
	for range 10 {
		all.Go(func() {
			got, err := c.Send(t.Context(), Submission{To: number, Text: text})
			if err != nil || len(got) != 1 {
				t.Errorf("%q, %v", got, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[got[0]] = true
		})
	}
	if all.Wait(); len(ids) != 10 {
		t.Errorf("%d ids, want 10", len(ids))
	}
}

func TestRealSMSCComesAndGoes(t *testing.T) {
	s := startSMSC(t)
	c := s.client(nil)
	s.sends(c, text, "00000001")
	for _, mode := range []string{"drop", "garbage"} {
		s.does(mode)
		if _, err := c.Send(t.Context(), Submission{To: number, Text: text}); !errors.Is(err, ErrDisconnected) || Permanent(err) {
			t.Errorf("%s: %v", mode, err)
		}
		if mode == "garbage" {
			if nack := s.saw("generic_nack"); nack["status"] != "0x02" {
				t.Errorf("nack %v", nack)
			}
		}
		if _, err := c.Send(t.Context(), Submission{To: number, Text: text}); err != nil {
			t.Errorf("after %s: %v", mode, err)
		}
	}
	s.does("enquire")
	s.saw("enquire_link_resp")
	s.does("unbind")
	s.saw("unbind_resp")
	s.sends(c, text, "00000004")
}

func TestRealSMSCSendsReceipts(t *testing.T) {
	s := startSMSC(t)
	receipts := make(chan Receipt, 1)
	c := s.client(func(c *Config) { c.Receipt = func(r Receipt) { receipts <- r } })
	s.does("receipt")
	s.sends(c, text, "00000001")
	if answer := s.saw("deliver_sm_resp"); answer["status"] != "0x00" || answer["message_id"] != "" {
		t.Errorf("answered %v", answer)
	}
	want := Receipt{
		ID: "00000001", State: Delivered, Submitted: 1, Arrived: 1, Code: "000",
		SentAt: time.Date(2026, 3, 14, 9, 26, 0, 0, time.UTC), At: time.Date(2026, 3, 14, 9, 27, 0, 0, time.UTC),
	}
	if got := <-receipts; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTLSIsSpokenWithWhomTheAddressSays(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil) // for its certificate, of example.com
	defer certified.Close()
	trusting := certified.Client().Transport.(*http.Transport).TLSClientConfig
	for _, c := range []struct {
		host  string
		tls   *tls.Config
		setup bool
	}{
		{"example.com", &tls.Config{RootCAs: trusting.RootCAs}, false},
		{"example.net", &tls.Config{RootCAs: trusting.RootCAs, ServerName: "example.com"}, false},
		{"example.net", &tls.Config{RootCAs: trusting.RootCAs}, true},
		{"example.com", &tls.Config{}, true},
	} {
		var serving sync.WaitGroup
		client := New(Config{
			Address: c.host + ":3550", SystemID: "us", Now: time.Now, TLS: c.tls,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				serving.Go(func() {
					secured := tls.Server(theirs, &tls.Config{Certificates: certified.TLS.Certificates})
					defer secured.Close()
					for {
						frame, err := readFrame(secured)
						if err != nil {
							return
						}
						p, _ := decode(frame)
						answer, _ := (&pdu{command: p.command | responseBit, sequence: p.sequence}).encode()
						_, _ = secured.Write(answer)
					}
				})
				return ours, nil
			},
		})
		if _, err := client.Send(t.Context(), Submission{To: number, Text: text}); (err != nil) != c.setup || Setup(err) != c.setup || Permanent(err) {
			t.Errorf("%s: %v", c.host, err)
		}
		if err := client.Close(t.Context()); err != nil {
			t.Error(err)
		}
		serving.Wait()
	}
}
