// Package ere matches POSIX extended regular expressions: see regex(7). It says whether one occurs in a text, nothing more, in time
// that grows with the product of their lengths and no faster.
//
// It is here because regexp, with its three engines and captures and Unicode's tables, is 200 kB of a program that may have 6 MiB. What an
// expression means is what regexp.CompilePOSIX makes of it, but for numbers of characters after a backslash, which are not taken, and
// with \d, \w, \s, \D, \W, \S and (?:…) of Perl's.
package ere

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An Expression is compiled. It may be used concurrently.
type Expression struct {
	program []instruction
	start   int
}

// An instruction is a state of the machine that reads a text.
type instruction struct {
	op        op
	next, alt int
	set       *set // of opSet
}

type op uint8

const (
	opDone  op = iota
	opSet      // takes a character of the set
	opSplit    // goes on at next and at alt
	opBegin    // holds before the first character
	opEnd      // and behind the last
)

const (
	maxRepeat  = 1000  // in braces
	maxProgram = 10000 // instructions
	maxDepth   = 100   // brackets in brackets
)

// Compile reads an expression.
func Compile(text string) (*Expression, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("expression %q: not text", text)
	}
	p := &parser{text: text}
	n, err := p.alternatives(0)
	if err == nil && p.text != "" {
		err = errors.New("unexpected )")
	}
	x := &Expression{program: []instruction{{op: opDone}}}
	if err == nil {
		x.start, err = x.compile(n, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("expression %q: %w", text, err)
	}
	return x, nil
}

// A node is a part of an expression.
type node struct {
	kind     kind
	parts    []*node // of kindSequence, kindChoice; the one of kindRepeat
	min, max int     // of kindRepeat; max is -1 for any number
	set      *set
}

type kind uint8

const (
	kindSequence kind = iota // of nothing, too
	kindChoice
	kindRepeat
	kindSet
	kindBegin
	kindEnd
)

// A set holds the characters of pairs, from each first to its second; or, negated, all others.
type set struct {
	pairs   []rune
	negated bool
}

func (s *set) has(r rune) bool {
	for i := 0; i < len(s.pairs); i += 2 {
		if s.pairs[i] <= r && r <= s.pairs[i+1] {
			return !s.negated
		}
	}
	return s.negated
}

// add adds pairs of characters, or all that are in none of them. The pairs are in order.
func (s *set) add(pairs string, negated bool) {
	list := []rune(pairs)
	if negated {
		list = append([]rune{0}, list...)
		for i := 1; i < len(list); i += 2 { // what was a first is now behind a last, and the other way round
			list[i]--
			list[i+1]++
		}
		list = append(list, utf8.MaxRune)
	}
	s.pairs = append(s.pairs, list...)
}

// class gives the characters of a name such as alpha, as pairs.
func class(name string) string {
	switch name {
	case "alnum":
		return "09AZaz"
	case "alpha":
		return "AZaz"
	case "ascii":
		return "\x00\x7f"
	case "blank":
		return "\t\t  "
	case "cntrl":
		return "\x00\x1f\x7f\x7f"
	case "digit":
		return "09"
	case "graph":
		return "!~"
	case "lower":
		return "az"
	case "print":
		return " ~"
	case "punct":
		return "!/:@[`{~"
	case "space":
		return "\t\r  "
	case "upper":
		return "AZ"
	case "word":
		return "09AZ__az"
	case "xdigit":
		return "09AFaf"
	}
	return ""
}

// escapedClass is what Perl has for three of them.
func escapedClass(c byte) (pairs string, negated bool) {
	switch c {
	case 'd', 'D':
		pairs = class("digit")
	case 'w', 'W':
		pairs = class("word")
	case 's', 'S':
		pairs = "\t\n\f\r  "
	}
	return pairs, c < 'a'
}

type parser struct{ text string }

func (p *parser) alternatives(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errors.New("too many brackets in brackets")
	}
	choice := &node{kind: kindChoice}
	for {
		n, err := p.sequence(depth)
		if err != nil {
			return nil, err
		}
		choice.parts = append(choice.parts, n)
		if !strings.HasPrefix(p.text, "|") {
			return choice, nil
		}
		p.text = p.text[1:]
	}
}

func (p *parser) sequence(depth int) (*node, error) {
	seq := &node{kind: kindSequence}
	for p.text != "" && p.text[0] != '|' && p.text[0] != ')' {
		n, err := p.one(depth)
		if err != nil {
			return nil, err
		}
		for levels := 0; ; levels++ {
			minimum, maximum, ok, err := p.repetition()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			if levels > maxDepth {
				return nil, errors.New("too many repetitions of repetitions")
			}
			n = &node{kind: kindRepeat, parts: []*node{n}, min: minimum, max: maximum}
		}
		seq.parts = append(seq.parts, n)
	}
	return seq, nil
}

// one reads what a repetition behind it is of.
func (p *parser) one(depth int) (*node, error) {
	c, size := utf8.DecodeRuneInString(p.text)
	switch c {
	case '(':
		p.text = strings.TrimPrefix(p.text[1:], "?:")
		n, err := p.alternatives(depth + 1)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(p.text, ")") {
			return nil, errors.New("missing )")
		}
		p.text = p.text[1:]
		return n, nil
	case '[':
		s, err := p.bracket()
		return &node{kind: kindSet, set: s}, err
	case '\\':
		if len(p.text) > 1 {
			if pairs, negated := escapedClass(p.text[1]); pairs != "" {
				p.text = p.text[2:]
				s := &set{}
				s.add(pairs, negated)
				return &node{kind: kindSet, set: s}, nil
			}
		}
		c, err := p.character()
		return &node{kind: kindSet, set: &set{pairs: []rune{c, c}}}, err
	case '*', '+', '?':
		return nil, fmt.Errorf("nothing before %c", c)
	case '{':
		if _, _, ok, err := p.repetition(); ok || err != nil {
			return nil, errors.Join(err, errors.New("nothing before {"))
		}
	}
	p.text = p.text[size:]
	switch c {
	case '^':
		return &node{kind: kindBegin}, nil
	case '$':
		return &node{kind: kindEnd}, nil
	case '.':
		return &node{kind: kindSet, set: &set{negated: true}}, nil
	}
	return &node{kind: kindSet, set: &set{pairs: []rune{c, c}}}, nil
}

// repetition reads *, +, ? or numbers in braces. Braces that hold none stand for themselves.
func (p *parser) repetition() (minimum, maximum int, ok bool, err error) {
	if p.text == "" {
		return 0, 0, false, nil
	}
	switch p.text[0] {
	case '*':
		maximum = -1
	case '+':
		minimum, maximum = 1, -1
	case '?':
		maximum = 1
	case '{':
		inner, rest, closed := strings.Cut(p.text[1:], "}")
		from, to, two := strings.Cut(inner, ",")
		if !closed || !number(from) || two && to != "" && !number(to) {
			return 0, 0, false, nil
		}
		minimum, err = strconv.Atoi(from)
		switch {
		case two && to == "":
			maximum = -1
		case two:
			var err2 error
			maximum, err2 = strconv.Atoi(to)
			err = errors.Join(err, err2)
		default:
			maximum = minimum
		}
		if err != nil || minimum > maxRepeat || maximum > maxRepeat || maximum >= 0 && minimum > maximum {
			return 0, 0, false, fmt.Errorf("not a number of times: {%s}", inner)
		}
		p.text = rest
		return minimum, maximum, true, nil
	default:
		return 0, 0, false, nil
	}
	p.text = p.text[1:]
	return minimum, maximum, true, nil
}

// number says whether a text is digits, without zeros in front.
func number(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && (s == "0" || s[0] != '0')
}

// bracket reads a set in square brackets.
func (p *parser) bracket() (*set, error) {
	s := &set{}
	p.text = p.text[1:]
	if strings.HasPrefix(p.text, "^") {
		s.negated = true
		p.text = p.text[1:]
	}
	for first := true; first || !strings.HasPrefix(p.text, "]"); first = false {
		switch {
		case p.text == "":
			return nil, errors.New("missing ]")
		case p.text[0] == '-' && !first && !strings.HasPrefix(p.text, "-]"):
			return nil, errors.New("a - in brackets is the first or the last, or in a range")
		case strings.HasPrefix(p.text, "[:") && strings.Contains(p.text[2:], ":]"):
			name, rest, _ := strings.Cut(p.text[2:], ":]")
			plain, negated := strings.CutPrefix(name, "^")
			pairs := class(plain)
			if pairs == "" {
				return nil, fmt.Errorf("unknown class [:%s:]", name)
			}
			s.add(pairs, negated)
			p.text = rest
			continue
		case p.text[0] == '\\' && len(p.text) > 1:
			if pairs, negated := escapedClass(p.text[1]); pairs != "" {
				s.add(pairs, negated)
				p.text = p.text[2:]
				continue
			}
		}
		from, err := p.character()
		if err != nil {
			return nil, err
		}
		to := from
		if len(p.text) > 1 && p.text[0] == '-' && p.text[1] != ']' {
			p.text = p.text[1:]
			if to, err = p.character(); err != nil {
				return nil, err
			}
			if to < from {
				return nil, fmt.Errorf("a range from %q down to %q", from, to)
			}
		}
		s.pairs = append(s.pairs, from, to)
	}
	p.text = p.text[1:]
	return s, nil
}

// character reads one that stands for itself, or for another behind a backslash.
func (p *parser) character() (rune, error) {
	c, size := utf8.DecodeRuneInString(p.text)
	p.text = p.text[size:]
	if c != '\\' {
		return c, nil
	}
	c, size = utf8.DecodeRuneInString(p.text)
	p.text = p.text[size:]
	if at := strings.IndexRune("afnrtv", c); at >= 0 && size > 0 {
		return rune("\a\f\n\r\t\v"[at]), nil
	}
	if size == 0 || c >= utf8.RuneSelf || strings.ContainsRune(class("alnum"), c) || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
		return 0, fmt.Errorf("unknown: \\%s", strings.TrimRight(string(c), string(utf8.RuneError)))
	}
	return c, nil
}

// compile adds what matches a node and then goes on at next, and returns where it begins.
func (x *Expression) compile(n *node, next int) (start int, err error) {
	switch n.kind {
	case kindSequence:
		for i := len(n.parts) - 1; i >= 0 && err == nil; i-- {
			next, err = x.compile(n.parts[i], next)
		}
		return next, err
	case kindChoice:
		start, err = x.compile(n.parts[len(n.parts)-1], next)
		for i := len(n.parts) - 2; i >= 0 && err == nil; i-- {
			var other int
			if other, err = x.compile(n.parts[i], next); err == nil {
				start, err = x.add(instruction{op: opSplit, next: other, alt: start})
			}
		}
		return start, err
	case kindRepeat:
		return x.repeat(n, next)
	case kindBegin:
		return x.add(instruction{op: opBegin, next: next})
	case kindEnd:
		return x.add(instruction{op: opEnd, next: next})
	}
	return x.add(instruction{op: opSet, next: next, set: n.set})
}

func (x *Expression) repeat(n *node, next int) (start int, err error) {
	start = next
	if n.max < 0 {
		if start, err = x.add(instruction{op: opSplit, alt: next}); err != nil {
			return 0, err
		}
		body, err := x.compile(n.parts[0], start)
		if err != nil {
			return 0, err
		}
		x.program[start].next = body
	}
	for range n.max - n.min { // as often as it likes
		body, err := x.compile(n.parts[0], start)
		if err != nil {
			return 0, err
		}
		if start, err = x.add(instruction{op: opSplit, next: body, alt: next}); err != nil {
			return 0, err
		}
	}
	for range n.min { // and as often as it must
		if start, err = x.compile(n.parts[0], start); err != nil {
			return 0, err
		}
	}
	return start, nil
}

// errTooLarge is no fault of the expression's language.
var errTooLarge = errors.New("too large")

func (x *Expression) add(i instruction) (int, error) {
	if len(x.program) == maxProgram {
		return 0, errTooLarge
	}
	x.program = append(x.program, i)
	return len(x.program) - 1, nil
}

// Match says whether the expression occurs in a text.
func (x *Expression) Match(text string) bool {
	// All the states that the machine can be in are followed at once, from every place where a match may begin.
	now, then := newStates(len(x.program)), newStates(len(x.program))
	for at := 0; ; {
		if x.enter(now, x.start, at == 0, at == len(text)) {
			return true
		}
		if at == len(text) {
			return false
		}
		r, size := utf8.DecodeRuneInString(text[at:])
		at += size
		for _, i := range now.list {
			if in := &x.program[i]; in.op == opSet && in.set.has(r) && x.enter(then, in.next, false, at == len(text)) {
				return true
			}
		}
		now, then = then, now
		then.clear()
	}
}

// enter adds a state and all that it leads to without a character, and says whether one of them is the end.
func (x *Expression) enter(s *states, state int, begin, end bool) (done bool) {
	s.todo = append(s.todo[:0], state)
	for len(s.todo) > 0 {
		i := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		if s.in[i] {
			continue
		}
		s.in[i] = true
		s.list = append(s.list, i)
		switch in := &x.program[i]; in.op {
		case opDone:
			return true
		case opSplit:
			s.todo = append(s.todo, in.alt, in.next)
		case opBegin:
			if begin {
				s.todo = append(s.todo, in.next)
			}
		case opEnd:
			if end {
				s.todo = append(s.todo, in.next)
			}
		}
	}
	return false
}

// states is a set of instructions.
type states struct {
	in         []bool
	list, todo []int
}

func newStates(n int) *states { return &states{in: make([]bool, n)} }

func (s *states) clear() {
	for _, i := range s.list {
		s.in[i] = false
	}
	s.list = s.list[:0]
}
