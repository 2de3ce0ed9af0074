package delivery

import (
	"errors"
	"regexp"
	"strings"
	"sync"

	"countersign/internal/domain/message"
)

// international is a number as E.164 §6 has it, with its plus.
var international = compiled(`^\+[1-9][0-9]{6,14}$`)

// compiled is an expression from its first use on: the start of the program
// needs none.
func compiled(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// textMessage returns what an SMS says, refusing what no gateway can send.
func textMessage(m message.Message) (string, error) {
	if !international().MatchString(m.To) {
		return "", Permanent(errors.New("the recipient is not a telephone number"))
	}
	text := strings.TrimRight(m.Text, "\r\n \t")
	if text == "" {
		return "", Permanent(errors.New("the message has no text"))
	}
	return text, nil
}

// A ruling is what a gateway's code means for the message.
type ruling struct {
	class func(error) error
	says  string
}

func temporary(err error) error { return err }

func setup(err error) error { return setupError{err} }

// loud is final for the message, and something for the operator to see to.
func loud(err error) error { return Permanent(setupError{err}) }

func (r ruling) on(code string) error {
	return r.class(codedError{code, errors.New(r.says)})
}
