package delivery

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"countersign/internal/domain/message"
)

const rule = "────────────────────────────────────────────────────────────────────────"

// A DevelopmentSender prints messages, codes and links included, to a
// developer's terminal instead of sending them.
type DevelopmentSender struct {
	Out io.Writer

	mu sync.Mutex
}

// Send prints m as one block.
func (d *DevelopmentSender) Send(_ context.Context, m message.Message) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", rule)
	fmt.Fprintf(&b, "%s to %s  (%s, %s; not sent: development mode)\n", m.Channel, printable(m.To, ' '), m.Kind, m.Locale)
	if m.Subject != "" {
		fmt.Fprintf(&b, "Subject: %s\n", printable(m.Subject, ' '))
	}
	// Names that visitors choose are in the text: an escape sequence among
	// them must not reach the terminal.
	text := printable(strings.ReplaceAll(m.Text, "\r\n", "\n"), '\uFFFD', '\n', '\t')
	fmt.Fprintf(&b, "\n%s\n%s\n", strings.TrimRight(text, "\n"), rule)

	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := io.WriteString(d.Out, b.String())
	return err
}
