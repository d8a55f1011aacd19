package rules

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Program is a set of rules, compiled. It does not change, and any number of goroutines may evaluate with it.
//
// An event touches only the lines that can match it. For each kind of event (its action and subsystem, which of the
// KERNEL patterns its device's name matches, whether it has a node, whether it is a network interface) the program
// keeps a plan: the lines that are left when all that is known of such an event is decided beforehand, with their
// jumps. ACTION!="add", GOTO="end" costs nothing after the first event of its kind.
type Program struct {
	lines   []line
	slots   map[string]int32 // the properties that rules name, numbered, so that a match is no search
	kernels kernelIndex
	static  []StaticNode

	plans     atomic.Pointer[map[planKey]*plan]
	plansLock sync.Mutex // of those who add one
	everyLine *plan      // for a trace of all
	states    sync.Pool
}

// line is a rule in a program.
type line struct {
	rule   *Rule
	tokens []token
	fixed  int // how many tokens stand in front that are decided by the event's kind
	uses   lineUse
	target int // the index in Program.lines, -1 for none
}

// Options say how a set is compiled.
type Options struct {
	// Users looks up the names of OWNER and GROUP. Nil means that the Host is asked when a rule runs
	// (udev.conf's resolve_names=late).
	Users Users
	// NoNames ignores OWNER and GROUP unless they are numbers (resolve_names=never).
	NoNames bool
}

// Compile makes a program. The problems are names of users and groups that nobody has: such an OWNER or GROUP takes
// back what an earlier line said, and says nothing itself, as in udev.
func Compile(set *Set, opts Options) (*Program, []Problem) {
	c := compiler{p: &Program{slots: map[string]int32{}}, opts: opts, users: map[string]int64{}, groups: map[string]int64{}}
	for _, file := range set.Files {
		base := len(c.p.lines)
		for _, rule := range file.Rules {
			l := line{rule: rule, tokens: slices.Clone(rule.tokens), uses: rule.uses, target: -1}
			if rule.target >= 0 {
				l.target = base + rule.target
			}
			c.line(&l)
			c.p.lines = append(c.p.lines, l)
		}
	}
	c.p.kernels.seal()
	c.p.everyLine = c.p.straightPlan()
	c.p.plans.Store(&map[planKey]*plan{})
	c.p.states.New = func() any { return newState(c.p) }
	return c.p, c.problems
}

type compiler struct {
	p             *Program
	opts          Options
	users, groups map[string]int64 // looked up so far
	problems      []Problem
}

func (c *compiler) line(l *line) {
	kept := l.tokens[:0]
	for _, t := range l.tokens {
		switch t.kind {
		case setOwner:
			if c.opts.NoNames {
				continue
			}
			if c.opts.Users != nil && t.text.plain {
				t.kind, t.number = setOwnerID, c.lookUp(l, &t, "user", c.users, c.opts.Users.User)
			}
		case setGroup:
			if c.opts.NoNames {
				continue
			}
			if c.opts.Users != nil && t.text.plain {
				t.kind, t.number = setGroupID, c.lookUp(l, &t, "group", c.groups, c.opts.Users.Group)
			}
		case matchEnv, setEnv:
			t.slot = c.slot(t.attr)
		case importDB, importCmdline:
			t.slot = c.slot(t.value)
		case matchKernel:
			t.number = int64(c.p.kernels.add(&t))
		}
		c.template(&t.text)
		c.template(&t.name)
		kept = append(kept, t)
	}
	// What an event's kind decides comes first; among those and among the rest the order stays.
	sortTokens(kept, func(a, b *token) bool {
		if a.isFixed() != b.isFixed() {
			return a.isFixed()
		}
		return a.kind < b.kind
	})
	l.tokens = kept
	for l.fixed < len(kept) && kept[l.fixed].isFixed() {
		l.fixed++
	}
	c.static(l)
}

// isFixed says whether the event's kind decides the token: see planKey.
func (t *token) isFixed() bool {
	return t.kind == matchAction || t.kind == matchSubsystem || t.kind == matchKernel
}

// template gives each $env of a template its slot.
func (c *compiler) template(t *template) {
	if !slices.ContainsFunc(t.parts, func(p part) bool { return p.what == substEnv }) {
		return
	}
	t.parts = slices.Clone(t.parts)
	for i := range t.parts {
		if t.parts[i].what == substEnv {
			t.parts[i].slot = c.slot(t.parts[i].text)
		}
	}
}

func (c *compiler) slot(key string) int32 {
	slot, ok := c.p.slots[key]
	if !ok {
		slot = int32(len(c.p.slots))
		c.p.slots[key] = slot
	}
	return slot
}

func (c *compiler) lookUp(l *line, t *token, what string, known map[string]int64, find func(string) (uint32, error)) int64 {
	id, ok := known[t.text.text]
	if !ok {
		id = noID
		if n, err := find(t.text.text); err == nil {
			id = int64(n)
		}
		known[t.text.text] = id
	}
	if id == noID {
		at, column := l.rule.source.position(t.offset)
		c.problems = append(c.problems, Problem{
			File: l.rule.File, Line: at, Column: column, Rule: l.rule.Last, Severity: Error,
			Message: fmt.Sprintf("unknown %s %q: it is ignored", what, t.text.text),
			Udev:    fmt.Sprintf("Unknown %s '%s', ignoring.", what, t.text.text),
		})
	}
	return id
}

// Rules ranges over the program's rules in their order.
func (p *Program) Rules(yield func(*Rule) bool) {
	for i := range p.lines {
		if !yield(p.lines[i].rule) {
			return
		}
	}
}
