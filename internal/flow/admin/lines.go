package admin

import (
	"encoding/csv"
	"slices"
	"strings"

	"countersign/internal/domain/account"
	"countersign/internal/fault"
)

// LinesMax is how many users are made at a time.
const LinesMax = 200

// Faults about lists of users.
var (
	ErrNoLines      = fault.New(fault.Invalid, "users.no_lines").On("users")
	ErrTooManyLines = fault.New(fault.Invalid, "users.too_many_lines").On("users").With("Max", LinesMax)
	ErrLineForm     = fault.New(fault.Invalid, "users.line_form")
	ErrColumn       = fault.New(fault.Invalid, "users.column")
	ErrTwice        = fault.New(fault.Invalid, "users.twice")
)

// A NewUser is a user as described by an administrator.
type NewUser struct {
	Name, DisplayName, Email, Comments string
	Role                               account.Role
	SignIn                             bool // to the console, with a generated password
	MFARequired                        bool
}

// A Line is one user of a list, or what is wrong with the line.
type Line struct {
	Number int    // in the text, from 1
	Text   string // as it stood there
	User   NewUser
	Err    error
}

// columns are those of a list, in the order of one that does not name them.
var columns = []string{"name", "display_name", "email", "comments", "role"}

// ParseUsers reads names, one a line, or CSV with or without a row of column
// names. What a line does not say is as in defaults. Every line that is not
// blank is answered; the fault returned is one of the whole list.
func ParseUsers(text string, defaults NewUser) (lines []Line, err error) {
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	order, first, users := columns, true, 0
	seen := map[string]int{}
	for n, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		l := Line{Number: n + 1, Text: line, User: defaults}
		fields, err := fieldsOf(line)
		if named := namedColumns(fields); first && err == nil && named != nil {
			first = false
			if order, err = named, unknownColumn(named); err != nil {
				l.Err = err
				lines = append(lines, l)
			}
			continue
		}
		first = false
		if users++; users > LinesMax {
			return nil, ErrTooManyLines
		}
		if l.Err = err; err == nil {
			l.User, l.Err = read(fields, order, defaults)
		}
		if l.Err == nil {
			key := account.UserNameKey(l.User.Name)
			if before, ok := seen[key]; ok {
				l.Err = ErrTwice.With("Line", before)
			} else {
				seen[key] = l.Number
			}
		}
		lines = append(lines, l)
	}
	if users == 0 {
		return nil, ErrNoLines
	}
	return lines, nil
}

// fieldsOf takes one line apart: no field of a user has two, and so a stray
// quote costs its own line alone.
func fieldsOf(line string) ([]string, error) {
	in := csv.NewReader(strings.NewReader(line))
	in.FieldsPerRecord, in.TrimLeadingSpace = -1, true
	fields, err := in.Read()
	if err != nil {
		return nil, ErrLineForm
	}
	return fields, nil
}

// namedColumns are the columns that a first line names; nil: it names none.
func namedColumns(fields []string) []string {
	names := make([]string, len(fields))
	for n, field := range fields {
		names[n] = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(field)), " ", "_")
	}
	if !slices.Contains(names, "name") {
		return nil
	}
	return names
}

func unknownColumn(names []string) error {
	for n, name := range names {
		if !slices.Contains(columns, name) || slices.Contains(names[:n], name) {
			return ErrColumn.With("Column", name)
		}
	}
	return nil
}

func read(fields, order []string, u NewUser) (NewUser, error) {
	into := map[string]*string{"name": &u.Name, "display_name": &u.DisplayName, "email": &u.Email, "comments": &u.Comments}
	for n, field := range fields {
		field = strings.TrimSpace(field)
		switch {
		case n >= len(order):
			if field != "" {
				return u, ErrLineForm
			}
		case order[n] == "role":
			if field != "" {
				u.Role = account.Role(strings.ToLower(field))
			}
		case into[order[n]] != nil:
			*into[order[n]] = field
		}
	}
	return u.Check()
}

// Check returns the user with its texts trimmed, or what is wrong with them.
func (u NewUser) Check() (NewUser, error) {
	var err error
	if u.Name, err = account.ParseUserName(u.Name); err != nil {
		return u, err
	}
	if u.DisplayName, err = account.ParseLine(u.DisplayName, account.DisplayNameMax, account.ErrDisplayName); err != nil {
		return u, err
	}
	if u.Comments, err = account.ParseLine(u.Comments, account.CommentsMax, account.ErrComments); err != nil {
		return u, err
	}
	if u.Email = strings.TrimSpace(u.Email); u.Email != "" {
		if u.Email, err = account.ParseEmail(u.Email); err != nil {
			return u, err
		}
	}
	u.Role, err = account.ParseRole(string(u.Role))
	return u, err
}
