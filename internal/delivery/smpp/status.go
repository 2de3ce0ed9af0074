package smpp

import (
	"errors"
	"fmt"
)

// A Status is the command_status of an answer (SMPP 3.4 §5.1.3).
type Status uint32

// The statuses by which the client decides something.
const (
	OK          Status = 0x00 // ESME_ROK
	InvalidLen  Status = 0x02 // ESME_RINVCMDLEN
	InvalidID   Status = 0x03 // ESME_RINVCMDID
	InvalidBind Status = 0x04 // ESME_RINVBNDSTS
	QueueFull   Status = 0x14 // ESME_RMSGQFUL
	Throttled   Status = 0x58 // ESME_RTHROTTLED
	rejected    Status = 0x66 // ESME_RX_R_APPN
)

// A cure says who or what can make an SMSC take a refused message.
type cure int

const (
	later    cure = iota // time may
	operator             // the set-up must change; every message is refused alike
	never                // nothing: it is about this message
)

var statuses = map[Status]struct {
	name string
	cure cure
}{
	0x00: {"ESME_ROK", later},
	0x01: {"ESME_RINVMSGLEN", never},
	0x02: {"ESME_RINVCMDLEN", later},
	0x03: {"ESME_RINVCMDID", operator},
	0x04: {"ESME_RINVBNDSTS", later}, // the SMSC lost the session: the next one is bound anew
	0x05: {"ESME_RALYBND", later},    // our last session has not ended there
	0x06: {"ESME_RINVPRTFLG", never},
	0x07: {"ESME_RINVREGDLVFLG", never},
	0x08: {"ESME_RSYSERR", later},
	0x0A: {"ESME_RINVSRCADR", never}, // often refused for one country alone
	0x0B: {"ESME_RINVDSTADR", never},
	0x0C: {"ESME_RINVMSGID", never},
	0x0D: {"ESME_RBINDFAIL", operator},
	0x0E: {"ESME_RINVPASWD", operator},
	0x0F: {"ESME_RINVSYSID", operator},
	0x11: {"ESME_RCANCELFAIL", later},
	0x13: {"ESME_RREPLACEFAIL", later},
	0x14: {"ESME_RMSGQFUL", later},
	0x15: {"ESME_RINVSERTYP", operator},
	0x33: {"ESME_RINVNUMDESTS", never},
	0x34: {"ESME_RINVDLNAME", never},
	0x40: {"ESME_RINVDESTFLAG", never},
	0x42: {"ESME_RINVSUBREP", never},
	0x43: {"ESME_RINVESMCLASS", never},
	0x44: {"ESME_RCNTSUBDL", never},
	0x45: {"ESME_RSUBMITFAIL", later},
	0x48: {"ESME_RINVSRCTON", operator},
	0x49: {"ESME_RINVSRCNPI", operator},
	0x50: {"ESME_RINVDSTTON", never},
	0x51: {"ESME_RINVDSTNPI", never},
	0x53: {"ESME_RINVSYSTYP", operator},
	0x54: {"ESME_RINVREPFLAG", never},
	0x55: {"ESME_RINVNUMMSGS", later},
	0x58: {"ESME_RTHROTTLED", later},
	0x61: {"ESME_RINVSCHED", never},
	0x62: {"ESME_RINVEXPIRY", never},
	0x63: {"ESME_RINVDFTMSGID", never},
	0x64: {"ESME_RX_T_APPN", later},
	0x65: {"ESME_RX_P_APPN", never},
	0x66: {"ESME_RX_R_APPN", never},
	0x67: {"ESME_RQUERYFAIL", later},
	0xC0: {"ESME_RINVOPTPARSTREAM", never},
	0xC1: {"ESME_ROPTPARNOTALLWD", never},
	0xC2: {"ESME_RINVPARLEN", never},
	0xC3: {"ESME_RMISSINGOPTPARAM", never},
	0xC4: {"ESME_RINVOPTPARAMVAL", never},
	0xFE: {"ESME_RDELIVERYFAILURE", later},
	0xFF: {"ESME_RUNKNOWNERR", later},
}

// String returns the specification's name and the number.
func (s Status) String() string {
	if known, ok := statuses[s]; ok {
		return fmt.Sprintf("%s (0x%02X)", known.name, uint32(s))
	}
	return fmt.Sprintf("status 0x%08X", uint32(s))
}

// slow reports whether the SMSC asks for fewer messages.
func (s Status) slow() bool { return s == Throttled || s == QueueFull }

// A StatusError is a refusal by the SMSC.
type StatusError struct {
	Command string // what was refused: "bind_transceiver", "submit_sm"
	Status  Status
}

func (e *StatusError) bind() bool { return e.Command == bindTransceiver.String() }

func (e *StatusError) Error() string { return e.Command + ": " + e.Status.String() }

// Permanent reports whether no later attempt can bring this message through.
// Statuses of the SMSC's maker (0x400 and above) count as temporary: what they
// mean is not known, and a message must not be lost for that.
func (e *StatusError) Permanent() bool { return !e.bind() && statuses[e.Status].cure == never }

// Setup reports whether the operator must change the set-up, or ask the SMSC's
// to change theirs: every message is refused alike. No Setup is Permanent.
func (e *StatusError) Setup() bool {
	known, ok := statuses[e.Status]
	if e.bind() {
		return !ok || known.cure != later
	}
	return known.cure == operator
}

// A failure is an error of ours that knows who can cure it.
type failure struct {
	error
	cure cure
}

func (f *failure) Unwrap() error   { return f.error }
func (f *failure) Permanent() bool { return f.cure == never }
func (f *failure) Setup() bool     { return f.cure == operator }

// Permanent reports whether no later Send of the same Submission can succeed.
func Permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// Setup reports whether the operator must cure err: the Submission is innocent,
// and worth a later attempt.
func Setup(err error) bool {
	var s interface{ Setup() bool }
	return errors.As(err, &s) && s.Setup()
}

// What Send returns beside a *StatusError and a *PartialError, mostly wrapped.
var (
	ErrDestination  error = &failure{errors.New("the destination is no E.164 number"), never}
	ErrTooLong      error = &failure{fmt.Errorf("the text needs more than %d parts", maxParts), never}
	ErrExpired      error = &failure{errors.New("the message has expired"), never}
	ErrClosed             = errors.New("the SMPP client is closed")
	ErrDisconnected       = errors.New("the connection to the SMSC ended")
	ErrNoAnswer           = errors.New("the SMSC does not answer") // it may have the message all the same
	ErrBackoff            = errors.New("waiting before the next attempt to connect to the SMSC")
)
