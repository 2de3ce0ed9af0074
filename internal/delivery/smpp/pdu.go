package smpp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A command is the command_id of a PDU (SMPP 3.4 §5.1.2.1).
type command uint32

const (
	genericNack         command = 0x80000000
	outbind             command = 0x0000000B
	submitSM            command = 0x00000004
	submitSMResp        command = 0x80000004
	deliverSM           command = 0x00000005
	deliverSMResp       command = 0x80000005
	unbind              command = 0x00000006
	unbindResp          command = 0x80000006
	bindTransceiver     command = 0x00000009
	bindTransceiverResp command = 0x80000009
	enquireLink         command = 0x00000015
	enquireLinkResp     command = 0x80000015
	alertNotification   command = 0x00000102
)

var commandNames = map[command]string{
	genericNack: "generic_nack", outbind: "outbind", submitSM: "submit_sm", submitSMResp: "submit_sm_resp",
	deliverSM: "deliver_sm", deliverSMResp: "deliver_sm_resp", unbind: "unbind", unbindResp: "unbind_resp",
	bindTransceiver: "bind_transceiver", bindTransceiverResp: "bind_transceiver_resp",
	enquireLink: "enquire_link", enquireLinkResp: "enquire_link_resp", alertNotification: "alert_notification",
}

func (c command) String() string {
	if name, ok := commandNames[c]; ok {
		return name
	}
	return fmt.Sprintf("command 0x%08X", uint32(c))
}

// response reports whether c answers something; generic_nack does too.
func (c command) response() bool { return c&responseBit != 0 }

const (
	responseBit = 0x80000000

	headerSize  = 16
	maxPDU      = 64 << 10   // ours; the specification has no limit
	maxSequence = 0x7FFFFFFF // SMPP 3.4 §3.2
)

// A pdu is one protocol data unit (SMPP 3.4 §3.2).
type pdu struct {
	command  command
	status   Status
	sequence uint32
	body     body   // nil: none, or in raw
	tlvs     []tlv  // in their order
	raw      []byte // what follows the header of a PDU whose body is not known
}

// A body is the mandatory parameters of a PDU.
type body interface{ fields(*coder) }

// A tlv is an optional parameter (SMPP 3.4 §5.3.1).
type tlv struct {
	tag   uint16
	value []byte
}

const (
	tagReceiptedMessageID uint16 = 0x001E // SMPP 3.4 §5.3.2.12
	tagMessagePayload     uint16 = 0x0424 // §5.3.2.32
	tagMessageState       uint16 = 0x0427 // §5.3.2.35
)

// value returns the first optional parameter with a tag.
func (p *pdu) value(tag uint16) ([]byte, bool) {
	for _, t := range p.tlvs {
		if t.tag == tag {
			return t.value, true
		}
	}
	return nil, false
}

// A bindBody asks for a session (SMPP 3.4 §4.1.5).
type bindBody struct {
	systemID, password, systemType     string
	interfaceVersion, addrTON, addrNPI byte
	addressRange                       string
}

func (b *bindBody) fields(c *coder) {
	c.text(&b.systemID, 16)
	c.text(&b.password, 9)
	c.text(&b.systemType, 13)
	c.octets(&b.interfaceVersion, &b.addrTON, &b.addrNPI)
	c.text(&b.addressRange, 41)
}

// A bindRespBody answers it (SMPP 3.4 §4.1.6).
type bindRespBody struct{ systemID string }

func (b *bindRespBody) fields(c *coder) { c.text(&b.systemID, 16) }

// A messageBody is that of submit_sm and deliver_sm (SMPP 3.4 §4.4.1, §4.6.1).
type messageBody struct {
	serviceType                                                   string
	sourceTON, sourceNPI                                          byte
	source                                                        string
	destTON, destNPI                                              byte
	dest                                                          string
	esmClass, protocolID, priorityFlag                            byte
	scheduleDeliveryTime, validityPeriod                          string
	registeredDelivery, replaceIfPresent, dataCoding, defaultSMID byte
	shortMessage                                                  []byte
}

const maxShortMessage = 254 // SMPP 3.4 §5.2.21

func (b *messageBody) fields(c *coder) {
	c.text(&b.serviceType, 6)
	c.octets(&b.sourceTON, &b.sourceNPI)
	c.text(&b.source, 21)
	c.octets(&b.destTON, &b.destNPI)
	c.text(&b.dest, 21)
	c.octets(&b.esmClass, &b.protocolID, &b.priorityFlag)
	c.text(&b.scheduleDeliveryTime, 17)
	c.text(&b.validityPeriod, 17)
	c.octets(&b.registeredDelivery, &b.replaceIfPresent, &b.dataCoding, &b.defaultSMID)
	c.counted(&b.shortMessage, maxShortMessage)
}

// A messageRespBody is that of submit_sm_resp and deliver_sm_resp (SMPP 3.4
// §4.4.2, §4.6.2).
type messageRespBody struct{ messageID string }

func (b *messageRespBody) fields(c *coder) { c.text(&b.messageID, 65) }

// newBody returns the body to fill, and whether the command is known.
func newBody(c command) (b body, known bool) {
	switch c {
	case bindTransceiver:
		return &bindBody{}, true
	case bindTransceiverResp:
		return &bindRespBody{}, true
	case submitSM, deliverSM:
		return &messageBody{}, true
	case submitSMResp, deliverSMResp:
		return &messageRespBody{}, true
	case unbind, unbindResp, enquireLink, enquireLinkResp, genericNack:
		return nil, true
	}
	return nil, false
}

// A coder walks through the fields of a body, so that reading and writing
// cannot disagree: either it takes them from the front of in, or it appends
// them to out.
type coder struct {
	writing bool
	in, out []byte
	err     error
}

func (c *coder) fail(why string) {
	if c.err == nil {
		c.err = errors.New(why)
	}
}

// take returns the next n octets, or nil when there are not so many.
func (c *coder) take(n int) []byte {
	if c.err != nil || len(c.in) < n {
		c.fail("too short")
		return nil
	}
	b := c.in[:n:n]
	c.in = c.in[n:]
	return b
}

func (c *coder) octets(list ...*byte) {
	for _, o := range list {
		if c.writing {
			c.out = append(c.out, *o)
		} else if b := c.take(1); b != nil {
			*o = b[0]
		}
	}
}

// text is a C-Octet String of at most most octets, its NUL among them (SMPP
// 3.4 §3.1).
func (c *coder) text(s *string, most int) {
	if c.writing {
		if len(*s) >= most {
			c.fail("string too long")
		}
		for i := range len(*s) {
			if (*s)[i] == 0 {
				c.fail("NUL in a string")
			}
		}
		c.out = append(append(c.out, *s...), 0)
		return
	}
	if c.err != nil {
		return
	}
	for i := range min(most, len(c.in)) {
		if c.in[i] == 0 {
			*s = string(c.in[:i])
			c.in = c.in[i+1:]
			return
		}
	}
	c.fail("string without an end")
}

// counted is an Octet String after an octet with its length.
func (c *coder) counted(s *[]byte, most int) {
	if c.writing {
		if len(*s) > most {
			c.fail("octet string too long")
		}
		c.out = append(append(c.out, byte(len(*s))), *s...)
		return
	}
	var n byte
	if c.octets(&n); int(n) > most {
		c.fail("octet string too long")
	}
	*s = c.take(int(n))
}

func (c *coder) optional(list *[]tlv) {
	if c.writing {
		for _, t := range *list {
			c.out = binary.BigEndian.AppendUint16(c.out, t.tag)
			c.out = binary.BigEndian.AppendUint16(c.out, uint16(len(t.value))) // more would not fit into a PDU either
			c.out = append(c.out, t.value...)
		}
		return
	}
	for c.err == nil && len(c.in) > 0 {
		if head := c.take(4); head != nil {
			value := c.take(int(binary.BigEndian.Uint16(head[2:])))
			*list = append(*list, tlv{binary.BigEndian.Uint16(head), value})
		}
	}
}

// encode returns the PDU as it goes over the wire.
func (p *pdu) encode() ([]byte, error) {
	c := &coder{writing: true, out: make([]byte, headerSize, 128)}
	if p.body != nil {
		p.body.fields(c)
	}
	c.optional(&p.tlvs)
	c.out = append(c.out, p.raw...)
	if len(c.out) > maxPDU {
		c.fail("too long")
	}
	if c.err != nil {
		return nil, fmt.Errorf("encode %v: %w", p.command, c.err)
	}
	binary.BigEndian.PutUint32(c.out, uint32(len(c.out)))
	binary.BigEndian.PutUint32(c.out[4:], uint32(p.command))
	binary.BigEndian.PutUint32(c.out[8:], uint32(p.status))
	binary.BigEndian.PutUint32(c.out[12:], p.sequence)
	return c.out, nil
}

// errLength means that the command_length is impossible: where the next PDU
// begins is not known then.
var errLength = errors.New("impossible command_length")

// decode reads one whole PDU. When only its body is malformed, the header is
// returned beside the error.
//
// The body of an answer may be missing, whatever its status (SMPP 3.4 §4.4.2
// leaves it out after an error, and some SMSCs always do); that of a refusal
// is kept raw if it cannot be read, because the status says it all.
func decode(frame []byte) (pdu, error) {
	if len(frame) < headerSize || len(frame) > maxPDU || int64(binary.BigEndian.Uint32(frame)) != int64(len(frame)) {
		return pdu{}, errLength
	}
	p := pdu{
		command:  command(binary.BigEndian.Uint32(frame[4:])),
		status:   Status(binary.BigEndian.Uint32(frame[8:])),
		sequence: binary.BigEndian.Uint32(frame[12:]),
	}
	rest := frame[headerSize:]
	b, known := newBody(p.command)
	if !known {
		p.raw = rest
		return p, nil
	}
	if p.command.response() && len(rest) == 0 {
		return p, nil
	}
	c := &coder{in: rest}
	if b != nil {
		b.fields(c)
	}
	var tlvs []tlv
	c.optional(&tlvs)
	switch {
	case c.err == nil:
		p.body, p.tlvs = b, tlvs
	case p.command.response() && p.status != OK:
		p.raw = rest
	default:
		return p, fmt.Errorf("decode %v: %w", p.command, c.err)
	}
	return p, nil
}

// readFrame reads the octets of one PDU.
func readFrame(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < headerSize || n > maxPDU {
		return nil, errLength
	}
	frame := make([]byte, n)
	copy(frame, length[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}
