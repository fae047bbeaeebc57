package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mutant is a change of a source file: other text in a place.
type mutant struct {
	file       string
	original   []byte
	line, col  int
	start, end int // offsets of what is replaced
	text       string
	what       string
}

func (m mutant) source() []byte {
	return slices.Concat(m.original[:m.start], []byte(m.text), m.original[m.end:])
}

// mutator finds the mutants of a file.
type mutator struct {
	path    string
	src     []byte
	fset    *token.FileSet
	mutants []mutant
}

func mutantsOf(path string) ([]mutant, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &mutator{path: path, src: src, fset: token.NewFileSet()}
	f, err := parser.ParseFile(m.fset, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BinaryExpr:
			m.binary(n)
		case *ast.BasicLit:
			m.literal(n)
		case *ast.Ident:
			m.boolean(n)
		case *ast.IfStmt:
			m.condition(n.Cond)
		case *ast.BlockStmt:
			m.statements(n.List)
		case *ast.CaseClause:
			m.caseOf(n)
		case *ast.CommClause:
			m.statements(n.Body)
		case *ast.FuncDecl:
			if n.Body != nil {
				m.returns(n.Type, n.Body)
			}
		case *ast.FuncLit:
			m.returns(n.Type, n.Body)
		}
		return true
	})
	return m.mutants, nil
}

func (m *mutator) text(n ast.Node) string {
	return string(m.src[m.fset.Position(n.Pos()).Offset:m.fset.Position(n.End()).Offset])
}

// brief is the first line of a node's text.
func (m *mutator) brief(n ast.Node) string {
	text, _, more := strings.Cut(m.text(n), "\n")
	if more {
		text += " …"
	}
	return text
}

func (m *mutator) replace(from, to token.Pos, text, what string, args ...any) {
	start, end := m.fset.Position(from), m.fset.Position(to)
	m.mutants = append(m.mutants, mutant{
		file: m.path, original: m.src, line: start.Line, col: start.Column,
		start: start.Offset, end: end.Offset, text: text, what: fmt.Sprintf(what, args...),
	})
}

// operators holds what takes the place of an operator: its neighbour, and its
// opposite if that is another one.
var operators = map[token.Token][]token.Token{
	token.EQL: {token.NEQ},
	token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ},
	token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ},
	token.GEQ: {token.GTR, token.LSS},
	token.ADD: {token.SUB},
	token.SUB: {token.ADD},
	token.MUL: {token.QUO},
	token.QUO: {token.MUL},
	token.REM: {token.MUL},
	token.SHL: {token.SHR},
	token.SHR: {token.SHL},
	token.AND: {token.OR},
	token.OR:  {token.AND},
	token.XOR: {token.AND},
}

func (m *mutator) binary(e *ast.BinaryExpr) {
	if e.Op == token.LAND || e.Op == token.LOR {
		m.replace(e.Pos(), e.End(), m.text(e.X), "%s without %s %s", m.brief(e.X), e.Op, m.brief(e.Y))
		m.replace(e.Pos(), e.End(), m.text(e.Y), "%s without %s %s", m.brief(e.Y), m.brief(e.X), e.Op)
		return
	}
	for _, op := range operators[e.Op] {
		m.replace(e.OpPos, e.OpPos+token.Pos(len(e.Op.String())), op.String(), "%s with %s", m.brief(e), op)
	}
}

func (m *mutator) literal(e *ast.BasicLit) {
	if n, err := strconv.ParseInt(e.Value, 0, 64); err == nil && e.Kind == token.INT {
		m.replace(e.Pos(), e.End(), strconv.FormatInt(n+1, 10), "%s is %d", e.Value, n+1)
		if n > 1 {
			m.replace(e.Pos(), e.End(), strconv.FormatInt(n-1, 10), "%s is %d", e.Value, n-1)
		}
	}
}

func (m *mutator) boolean(e *ast.Ident) {
	switch e.Name {
	case "true":
		m.replace(e.Pos(), e.End(), "false", "true is false")
	case "false":
		m.replace(e.Pos(), e.End(), "true", "false is true")
	}
}

// condition negates a condition that is no comparison, which has mutants already.
func (m *mutator) condition(e ast.Expr) {
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op != token.LAND && b.Op != token.LOR {
		return
	}
	m.replace(e.Pos(), e.End(), "!("+m.text(e)+")", "if not %s", m.brief(e))
}

// caseOf takes away one of several expressions of a case.
func (m *mutator) caseOf(c *ast.CaseClause) {
	m.statements(c.Body)
	for i, e := range c.List[:max(len(c.List)-1, 0)] {
		m.replace(e.Pos(), c.List[i+1].Pos(), "", "case without %s", m.brief(e))
	}
}

// statements takes away one statement each, and swaps some.
func (m *mutator) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.IncDecStmt:
			m.replace(s.Pos(), s.End(), "{}", "without %s", m.brief(s))
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				m.replace(s.Pos(), s.End(), "{}", "without %s", m.brief(s))
			}
		case *ast.BranchStmt:
			m.branch(s)
		}
	}
}

func (m *mutator) branch(s *ast.BranchStmt) {
	other := map[token.Token]token.Token{token.BREAK: token.CONTINUE, token.CONTINUE: token.BREAK}[s.Tok]
	if other != token.ILLEGAL {
		m.replace(s.Pos(), s.Pos()+token.Pos(len(s.Tok.String())), other.String(), "%s is %s", s.Tok, other)
	}
}

// returns has a function return nil where it returns an error.
func (m *mutator) returns(t *ast.FuncType, body *ast.BlockStmt) {
	if t.Results == nil {
		return
	}
	last := t.Results.List[len(t.Results.List)-1]
	if name, ok := last.Type.(*ast.Ident); !ok || name.Name != "error" {
		return
	}
	ast.Inspect(body, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false // Has a turn of its own.
		}
		if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == t.Results.NumFields() {
			e := r.Results[len(r.Results)-1]
			if m.text(e) != "nil" {
				m.replace(e.Pos(), e.End(), "nil", "return nil instead of %s", m.brief(e))
			}
		}
		return true
	})
}
