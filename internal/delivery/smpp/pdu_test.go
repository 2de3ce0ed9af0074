package smpp

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// octets reads hexadecimal digits; spaces in them are for the reader.
func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// PDUs as SMSCs and their clients write them; the first is the example of SMPP
// 3.4 §3.2.3.
var realPDUs = []struct {
	wire string
	want pdu
}{
	{`0000002F 00000002 00000000 00000001 534D50503354455354 00 7365637265743038 00 5355424D495431 00 00 01 01 00`,
		pdu{command: 2, sequence: 1, raw: []byte("SMPP3TEST\x00secret08\x00SUBMIT1\x00\x00\x01\x01\x00")}},
	{`0000002F 00000009 00000000 00000001 534D50503354455354 00 7365637265743038 00 5355424D495431 00 34 00 00 00`,
		pdu{command: bindTransceiver, sequence: 1, body: &bindBody{systemID: "SMPP3TEST", password: "secret08", systemType: "SUBMIT1", interfaceVersion: 0x34}}},
	{`0000001D 80000009 00000000 00000001 47534D534757 00 0210000134 00`, pdu{}}, // one octet too many: see below
	{`0000001C 80000009 00000000 00000001 47534D534757 00 0210000134`,
		pdu{command: bindTransceiverResp, sequence: 1, body: &bindRespBody{"GSMSGW"}, tlvs: []tlv{{0x0210, []byte{0x34}}}}},
	{`00000010 80000009 0000000E 00000001`, pdu{command: bindTransceiverResp, status: 0x0E, sequence: 1}},
	{`00000011 80000009 0000000E 00000001 00`, pdu{command: bindTransceiverResp, status: 0x0E, sequence: 1, body: &bindRespBody{}}},
	{`00000012 80000004 00000045 00000007 4142`, pdu{command: submitSMResp, status: 0x45, sequence: 7, raw: []byte("AB")}},
	{`00000015 80000004 00000000 00000002 31326566 00`,
		pdu{command: submitSMResp, sequence: 2, body: &messageRespBody{"12ef"}}},
	{`00000010 00000015 00000000 7FFFFFFF`, pdu{command: enquireLink, sequence: maxSequence}},
	{`00000010 80000000 00000003 00000000`, pdu{command: genericNack, status: 3}},
	{`00000010 00000102 00000000 00000001`, pdu{command: alertNotification, sequence: 1, raw: []byte{}}},
	{`00000044 00000004 00000000 00000005
	  00 05 00 4D7953697465 00 01 01 3431373931323334353637 00 40 00 00 00
	  30303030303030303035303030303052 00 01 00 08 00 02 0410`,
		pdu{command: submitSM, sequence: 5, body: &messageBody{
			sourceTON: 5, source: "MySite", destTON: 1, destNPI: 1, dest: "41791234567", esmClass: 0x40,
			validityPeriod: "000000000500000R", registeredDelivery: 1, dataCoding: 8, shortMessage: []byte{4, 0x10},
		}}},
	{`00000039 00000005 00000000 00000009 00 01 01 3431 00 03 00 3838 00 04 00 00 00 00 00 00 00 00 00
	  001E 0005 3132656600 0427 0001 02 0424 0002 6869`,
		pdu{command: deliverSM, sequence: 9, body: &messageBody{
			sourceTON: 1, sourceNPI: 1, source: "41", destTON: 3, dest: "88", esmClass: 4, shortMessage: []byte{},
		}, tlvs: []tlv{{0x001E, []byte("12ef\x00")}, {0x0427, []byte{2}}, {0x0424, []byte("hi")}}}},
}

func TestPDUsReadAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	for _, c := range realPDUs {
		wire := octets(t, c.wire)
		got, err := decode(wire)
		if c.want.command == 0 {
			if err == nil {
				t.Errorf("%X: read as %+v, want an error", wire, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%X: %v", wire, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%X\ngot  %+v %+v\nwant %+v %+v", wire, got, got.body, c.want, c.want.body)
		}
		again, err := got.encode()
		if err != nil || !bytes.Equal(again, wire) {
			t.Errorf("%X\nwritten again as %X, %v", wire, again, err)
		}
	}
}

func TestImpossiblePDUsAreRefused(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]string{
		"no header":                        `0000000F 00000015 00000000 000000`,
		"length is not that of the PDU":    `00000011 00000015 00000000 00000001`,
		"system_id of 16 and its NUL":      `00000027 00000009 00000000 00000001 41414141414141414141414141414141 00 00 00 34 00 00 00`,
		"submit_sm without a body":         `00000010 00000004 00000000 00000001`,
		"submit_sm with less than it says": `00000022 00000004 00000000 00000001 00 0000 00 0000 00 000000 00 00 00000000 09 41`,
		"half a TLV":                       `00000013 00000006 00000000 00000001 001E00`,
		"a TLV longer than the PDU":        `00000015 00000006 00000000 00000001 001E000241`,
		"message_id of 65 and its NUL":     `00000052 80000004 00000000 00000001` + strings.Repeat("41", 65) + "00",
		"message_id without a NUL":         `00000012 80000004 00000000 00000001 4141`,
	} {
		if got, err := decode(octets(t, wire)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func TestFieldsThatDoNotFitAreNotWritten(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]pdu{
		"password":      {command: bindTransceiver, body: &bindBody{password: "123456789"}},
		"NUL":           {command: bindTransceiver, body: &bindBody{password: "a\x00b"}},
		"short_message": {command: submitSM, body: &messageBody{shortMessage: make([]byte, 255)}},
		"TLV":           {command: unbind, tlvs: []tlv{{1, make([]byte, 1<<16)}}},
		"PDU":           {command: unbind, tlvs: []tlv{{1, make([]byte, 1<<16-1)}}},
	} {
		if wire, err := p.encode(); err == nil {
			t.Errorf("%s: written, %d octets", name, len(wire))
		}
	}
	fits := pdu{command: unbind, tlvs: []tlv{{1, make([]byte, maxPDU-headerSize-4)}}}
	wire, err := fits.encode()
	if err != nil || len(wire) != maxPDU {
		t.Errorf("the longest PDU: %d octets, %v", len(wire), err)
	}
}

// The length alone must not make us take memory for what never comes.
func TestFrameIsBounded(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{"00000000", "0000000F", "00010001", "FFFFFFFF"} {
		if _, err := readFrame(bytes.NewReader(octets(t, wire))); err != errLength {
			t.Errorf("%s: %v", wire, err)
		}
	}
}

func FuzzPDU(f *testing.F) {
	for _, c := range realPDUs {
		f.Add(octets(f, c.wire))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		frame, err := readFrame(bytes.NewReader(wire))
		if err == nil && !bytes.HasPrefix(wire, frame) {
			t.Fatalf("frame %X of %X", frame, wire)
		}
		p, err := decode(wire)
		receipt(&p)
		if err != nil {
			return
		}
		again, err := p.encode()
		if err != nil {
			t.Fatalf("%X was read as %+v and cannot be written: %v", wire, p, err)
		}
		if !bytes.Equal(again, wire) {
			t.Fatalf("%X was written again as %X", wire, again)
		}
	})
}
