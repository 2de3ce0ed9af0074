package delivery

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"text/template/parse"

	template "github.com/DataDog/datadog-agent/pkg/template/text"

	"countersign/internal/domain/message"
)

const (
	hookTemplateLimit = 8 << 10
	hookBodyLimit     = 64 << 10
)

const defaultHookTemplate = `{"id":{{json .ID}},"to":{{json .To}},"text":{{json .Text}},"kind":{{json .Kind}},"locale":{{json .Locale}},"params":{{json .Params}}}`

// A hookMessage is what a hook's template sees.
type hookMessage struct {
	ID, To, Text, Kind, Locale string
	Params                     map[string]string
}

// A hookBody makes the bodies of a hook's requests.
type hookBody struct {
	template *template.Template
	json     bool // what it makes has to be JSON
}

var errHookTooLong = fmt.Errorf("more than %d KiB", hookBodyLimit>>10)

// Every value a template can get hold of is bounded, and so is the number of
// times each part of it is executed: there is nothing in it that repeats.
var hookFunctions = template.FuncMap{
	"json": func(value any) (string, error) {
		b, err := json.Marshal(value)
		if len(b) > hookBodyLimit {
			err = errHookTooLong
		}
		return string(b), err
	},
	"urlquery": func(value any) (string, error) {
		s := url.QueryEscape(fmt.Sprint(value))
		if len(s) > hookBodyLimit {
			return "", errHookTooLong
		}
		return s, nil
	},
}

var hookWords = []string{"json", "urlquery", "and", "or", "not", "eq", "ne", "index"}

func newHookBody(text string, isJSON bool) (*hookBody, error) {
	if text == "" {
		text = defaultHookTemplate
	}
	if len(text) > hookTemplateLimit {
		return nil, fmt.Errorf("the template of the hook is longer than %d KiB", hookTemplateLimit>>10)
	}
	t, err := template.New("hook").Option("missingkey=zero").Funcs(hookFunctions).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the template of the hook: %w", err)
	}
	if t.Tree == nil || len(t.Templates()) > 1 {
		return nil, errors.New("the template of the hook is empty or defines others")
	}
	if err := allowed(t.Tree.Root); err != nil {
		return nil, fmt.Errorf("the template of the hook: %w", err)
	}
	return &hookBody{t, isJSON}, nil
}

// write makes the body for m. Its errors quote nothing of m.
func (b *hookBody) write(m message.Message) ([]byte, error) {
	data := hookMessage{m.ID, m.To, m.Text, m.Kind, m.Locale, m.Params}
	if data.Params == nil {
		data.Params = map[string]string{}
	}
	var out limited
	if err := b.template.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("the template of the hook fails: %w", err)
	}
	if b.json && !json.Valid(out.Bytes()) {
		return nil, errors.New("the template of the hook makes no JSON: write each value as {{json .Text}}, without quotation marks")
	}
	return out.Bytes(), nil
}

// limited is a buffer that can be full.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > hookBodyLimit {
		return 0, errHookTooLong
	}
	return l.Buffer.Write(b)
}

// allowed refuses what could run without end or make values without bound:
// range, templates within templates, printf and the like.
func allowed(node parse.Node) error {
	branch := func(n *parse.BranchNode) error {
		return cmp.Or(allowed(n.Pipe), allowed(n.List), allowed(n.ElseList))
	}
	switch n := node.(type) {
	case *parse.ListNode:
		if n != nil { // an else that is not there
			return all(n.Nodes)
		}
		return nil
	case *parse.ActionNode:
		return allowed(n.Pipe)
	case *parse.IfNode:
		return branch(&n.BranchNode)
	case *parse.WithNode:
		return branch(&n.BranchNode)
	case *parse.PipeNode:
		return all(n.Cmds)
	case *parse.CommandNode:
		return all(n.Args)
	case *parse.ChainNode:
		return allowed(n.Node)
	case *parse.IdentifierNode:
		if slices.Contains(hookWords, n.Ident) {
			return nil
		}
	case *parse.TextNode, *parse.CommentNode, *parse.FieldNode, *parse.VariableNode, *parse.DotNode,
		*parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode:
		return nil
	}
	return errors.New("it may use if, with and the functions json, urlquery, and, or, not, eq, ne, index, and nothing that repeats")
}

func all[N parse.Node](nodes []N) error {
	for _, n := range nodes {
		if err := allowed(n); err != nil {
			return err
		}
	}
	return nil
}
