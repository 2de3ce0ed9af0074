package front_test

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"text/template/parse"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"countersign/internal/front/web/page"
	"countersign/internal/store/storetest"
	"countersign/internal/testkit"
)

// A shape is what is known of a value in a template before it is executed: its
// type, or for what pairs made, the shape of each value. Neither: anything.
type shape struct {
	t     reflect.Type
	pairs map[string]shape
}

// A typeChecker follows a template and all that it takes in, with types for
// values, into every branch.
type typeChecker struct {
	trees     map[string]*parse.Tree
	functions map[string]reflect.Type
	problem   func(tree *parse.Tree, n parse.Node, text string)
	seen      map[string]bool // templates with shapes
	fields    int             // looked up
}

// Every field in every branch is looked up in its type,
// and every argument of a function held against what the function takes.
func TestTemplatesShowFieldsThatTheirPagesHave(t *testing.T) {
	t.Parallel()
	testkit.NewSite(t, storetest.SQLite, nil)
	pages, fields := 0, 0
	page.Registered(func(name string, tmpl *template.Template, functions template.FuncMap, data any) {
		pages++
		c := &typeChecker{trees: map[string]*parse.Tree{}, functions: map[string]reflect.Type{}, seen: map[string]bool{}}
		for _, part := range tmpl.Templates() {
			if part.Tree != nil {
				c.trees[part.Name()] = part.Tree
			}
		}
		for name, f := range functions {
			c.functions[name] = reflect.TypeOf(f)
		}
		c.problem = func(tree *parse.Tree, n parse.Node, text string) {
			t.Errorf("%s: %s: %s: %s", name, tree.ParseName, n, text)
		}
		c.template("layout.html", shape{t: reflect.TypeOf(data)})
		fields += c.fields

		// The zero value lacks what every request has, and may stop for that.
		for _, part := range []string{"title", "main"} {
			if err := tmpl.ExecuteTemplate(io.Discard, part, data); err != nil && strings.Contains(err.Error(), "can't evaluate field") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if pages < 60 || fields < 3000 {
		t.Errorf("%d pages with %d fields: these are not all", pages, fields)
	}
	t.Logf("%d pages, %d fields", pages, fields)
}

type scope struct {
	tree *parse.Tree
	dot  shape
	vars map[string]shape
}

func (c *typeChecker) template(name string, dot shape) {
	tree := c.trees[name]
	if tree == nil {
		panic("there is no template " + name) // does not parse
	}
	key := fmt.Sprint(name, dot)
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	c.walk(tree.Root, &scope{tree, dot, map[string]shape{"$": dot}})
}

func (c *typeChecker) walk(n parse.Node, s *scope) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		inner := s.inner(s.dot)
		for _, child := range n.Nodes {
			c.walk(child, inner)
		}
	case *parse.ActionNode:
		c.pipe(n.Pipe, s)
	case *parse.IfNode:
		in := s.inner(s.dot)
		c.pipe(n.Pipe, in)
		c.walk(n.List, in)
		c.walk(n.ElseList, in)
	case *parse.WithNode:
		in := s.inner(s.dot)
		v := c.pipe(n.Pipe, in)
		c.walk(n.ElseList, in)
		c.walk(n.List, in.inner(v))
	case *parse.RangeNode:
		in := s.inner(s.dot)
		key, elem := c.pipeElem(n.Pipe, in)
		c.walk(n.ElseList, s)
		if len(n.Pipe.Decl) == 1 {
			in.vars[n.Pipe.Decl[0].Ident[0]] = elem
		} else if len(n.Pipe.Decl) == 2 {
			in.vars[n.Pipe.Decl[0].Ident[0]], in.vars[n.Pipe.Decl[1].Ident[0]] = key, elem
		}
		c.walk(n.List, in.inner(elem))
	case *parse.TemplateNode:
		v := shape{}
		if n.Pipe != nil {
			v = c.pipe(n.Pipe, s)
		}
		c.template(n.Name, v)
	}
}

func (s *scope) inner(dot shape) *scope {
	vars := map[string]shape{}
	for k, v := range s.vars {
		vars[k] = v
	}
	return &scope{s.tree, dot, vars}
}

func (c *typeChecker) pipeElem(p *parse.PipeNode, s *scope) (key, elem shape) {
	v := c.commands(p, s)
	if v.t == nil {
		return
	}
	switch v.t.Kind() {
	case reflect.Slice, reflect.Array:
		return shape{t: reflect.TypeFor[int]()}, shape{t: v.t.Elem()}
	case reflect.Map:
		return shape{t: v.t.Key()}, shape{t: v.t.Elem()}
	case reflect.Int:
		return shape{t: v.t}, shape{t: v.t}
	case reflect.Func: // an iterator
		y := v.t.In(0)
		if y.NumIn() == 1 {
			return shape{t: y.In(0)}, shape{t: y.In(0)}
		}
		return shape{t: y.In(0)}, shape{t: y.In(1)}
	}
	c.problem(s.tree, p, "range over "+v.t.String())
	return
}

func (c *typeChecker) pipe(p *parse.PipeNode, s *scope) shape {
	v := c.commands(p, s)
	for _, d := range p.Decl {
		s.vars[d.Ident[0]] = v
	}
	return v
}

func (c *typeChecker) commands(p *parse.PipeNode, s *scope) (v shape) {
	for i, cmd := range p.Cmds {
		v = c.command(cmd, s, i > 0, v)
	}
	return v
}

func (c *typeChecker) command(cmd *parse.CommandNode, s *scope, piped bool, last shape) shape {
	var args []shape
	for _, a := range cmd.Args[1:] {
		args = append(args, c.value(a, s))
	}
	if piped {
		args = append(args, last)
	}
	id, ok := cmd.Args[0].(*parse.IdentifierNode)
	if !ok {
		return c.value(cmd.Args[0], s)
	}
	switch id.Ident {
	case "pairs":
		m := map[string]shape{}
		for i := 0; i+1 < len(args); i += 2 {
			key, ok := cmd.Args[1+i].(*parse.StringNode)
			if !ok {
				c.problem(s.tree, cmd, "a name in pairs is no string")
				continue
			}
			m[key.Text] = args[i+1]
		}
		return shape{pairs: m}
	case "and", "or":
		return args[len(args)-1]
	case "call":
		if args[0].t != nil && args[0].t.Kind() == reflect.Func {
			return shape{t: args[0].t.Out(0)}
		}
		c.problem(s.tree, cmd, "call of no function")
		return shape{}
	case "index":
		if t := args[0].t; t != nil && (t.Kind() == reflect.Map || t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			return shape{t: t.Elem()}
		}
		return shape{}
	case "not", "eq", "ne", "lt", "le", "gt", "ge":
		return shape{t: reflect.TypeFor[bool]()}
	case "len":
		return shape{t: reflect.TypeFor[int]()}
	case "print", "printf", "println":
		return shape{t: reflect.TypeFor[string]()}
	case "slice":
		return args[0]
	}
	f := c.functions[id.Ident]
	if f == nil {
		c.problem(s.tree, cmd, "unknown function "+id.Ident)
		return shape{}
	}
	for i, a := range args {
		var want reflect.Type
		switch {
		case f.IsVariadic() && i >= f.NumIn()-1:
			want = f.In(f.NumIn() - 1).Elem()
		case i < f.NumIn():
			want = f.In(i)
		default:
			c.problem(s.tree, cmd, "too many arguments of "+id.Ident)
			return shape{}
		}
		if !a.fits(want) && !(i+1 < len(cmd.Args) && literal(cmd.Args[i+1], want)) {
			c.problem(s.tree, cmd, fmt.Sprintf("%s takes %s, not %s", id.Ident, want, a.t))
		}
	}
	if n := len(args); n < f.NumIn() && !(f.IsVariadic() && n == f.NumIn()-1) {
		c.problem(s.tree, cmd, "too few arguments of "+id.Ident)
	}
	return shape{t: f.Out(0)}
}

// fits reports whether a function that wants a type takes the value.
func (a shape) fits(want reflect.Type) bool {
	switch {
	case a.pairs != nil:
		return false
	case a.t == nil || a.t.Kind() == reflect.Interface && a.t.NumMethod() == 0:
		return true
	}
	return a.t.AssignableTo(want) || a.t.Kind() == reflect.Pointer && a.t.Elem().AssignableTo(want)
}

// literal reports whether n is written in the template and of a kind that
// becomes the type wanted.
func literal(n parse.Node, want reflect.Type) bool {
	switch n.(type) {
	case *parse.StringNode:
		return want.Kind() == reflect.String
	case *parse.NumberNode:
		return reflect.Zero(want).CanInt()
	}
	return false
}

func (c *typeChecker) value(n parse.Node, s *scope) shape {
	switch n := n.(type) {
	case *parse.DotNode:
		return s.dot
	case *parse.FieldNode:
		return c.chain(n, n.Ident, s.dot, s)
	case *parse.VariableNode:
		return c.chain(n, n.Ident[1:], s.vars[n.Ident[0]], s)
	case *parse.ChainNode:
		return c.chain(n, n.Field, c.value(n.Node, s), s)
	case *parse.PipeNode:
		return c.pipe(n, s)
	case *parse.StringNode:
		return shape{t: reflect.TypeFor[string]()}
	case *parse.BoolNode:
		return shape{t: reflect.TypeFor[bool]()}
	case *parse.IdentifierNode:
		return c.command(&parse.CommandNode{Args: []parse.Node{n}}, s, false, shape{})
	}
	return shape{}
}

func (c *typeChecker) chain(n parse.Node, names []string, v shape, s *scope) shape {
	for _, name := range names {
		c.fields++
		if v.pairs != nil {
			inner, ok := v.pairs[name]
			if !ok { // not passed this time
				return shape{}
			}
			v = inner
			continue
		}
		if v.t == nil {
			return shape{}
		}
		if v.t.Kind() == reflect.Interface && v.t.NumMethod() == 0 {
			c.problem(s.tree, n, "a field of anything: "+name)
			return shape{}
		}
		t := v.t
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch {
		case t.Kind() == reflect.Struct:
			f, ok := t.FieldByName(name)
			if !ok || !f.IsExported() {
				c.problem(s.tree, n, t.String()+" has no "+name)
				return shape{}
			}
			v = shape{t: f.Type}
		case t.Kind() == reflect.Map:
			v = shape{t: t.Elem()}
		default:
			c.problem(s.tree, n, t.String()+" has no "+name)
			return shape{}
		}
	}
	return v
}
