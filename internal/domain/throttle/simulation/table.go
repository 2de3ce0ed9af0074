package simulation

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Write prints results as a table. The error of a drawn chance is two standard
// errors; exact is the chance that follows from the guesses made.
func Write(w io.Writer, results []Result) error {
	const row = "%-38s  %13s  %11s  %8s  %8s  %16s  %8s  %13s  %10s  %s\n"
	if _, err := fmt.Fprintf(w, row, "policy", "account-years", "guesses/yr",
		"P(30 d)", "exact", "P(1 y)", "exact", "refused known", "new device", "note"); err != nil {
		return err
	}
	for _, r := range results {
		if _, err := fmt.Fprintf(w, row, r.Policy.Name, thousands(r.AccountYears), thousands(int(r.Guesses+0.5)),
			small(r.Month.Drawn), small(r.Month.Exact),
			small(r.Year.Drawn)+" ±"+small(r.Year.Error), small(r.Year.Exact),
			percent(r.RefusedKnown), percent(r.RefusedNew), note(r)); err != nil {
			return err
		}
	}
	return nil
}

// note says what the columns do not.
func note(r Result) string {
	var parts []string
	if r.Policy.Note != "" {
		parts = append(parts, r.Policy.Note)
	}
	if r.Disabled > 0 {
		parts = append(parts, "authenticator off in "+percent(r.Disabled)+" of accounts")
	}
	if r.Wait > 0 {
		parts = append(parts, fmt.Sprintf("new device: %.1f codes, +%.0f s", r.Codes, r.Wait.Round(time.Second).Seconds()))
	}
	return strings.Join(parts, "; ")
}

func small(p float64) string {
	if p >= 0.1 {
		return fmt.Sprintf("%.3f", p)
	}
	return fmt.Sprintf("%.1e", p)
}

func percent(share float64) string {
	return fmt.Sprintf("%.3g %%", share*100)
}

func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
