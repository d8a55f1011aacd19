package modload

import (
	"fmt"
	"slices"
)

// A plan is what one request loads, in order. The order is kmod's: dependencies with what they want loaded beside them, then what the
// module itself wants before it, the module, and what it wants after it.
//
// A loop, which softdeps can make, is not followed: whoever would come round again keeps its first place, and the plan says so.
//
// Source: kmod, libkmod-module.c, __kmod_module_get_probe_list.
type plan struct {
	index   *Index
	list    []planned
	place   map[string]int // the first in list, by module
	visited map[string]bool
	order   []constraint
	loops   []string
}

// planned is one place in the order. A module may have several: it is loaded at the first; the others are there because kmod shows them.
type planned struct {
	entry    Entry
	alias    string // by which it was asked for
	required bool   // what was asked for, or a dependency of it: its failure is the request's
	main     bool   // what was asked for
	again    bool   // it has a place before
	err      error  // it cannot be loaded

	needs []int // places of the modules without which it cannot be loaded
	after []int // places of the modules to wait for, whatever becomes of them
}

// A constraint says that one module is to be loaded before another.
type constraint struct {
	first, second string
	why           constraintKind
}

type constraintKind uint8

const (
	dependency constraintKind = iota
	softPre
	softPost
	sequence // of two modules that one alias stands for
)

// newPlan lays out the loading of what was found for one request. Several modules for one alias are loaded one after another, as kmod
// does: which of two drivers comes first decides which of them gets the device.
func newPlan(x *Index, found []Match, alias string) *plan {
	p := &plan{index: x, place: map[string]int{}}
	for i, m := range found {
		if i > 0 {
			p.order = append(p.order, constraint{found[i-1].Module, m.Module, sequence})
		}
		p.visited = map[string]bool{}
		p.probe(m.Module, aliasOf(m, alias), true)
	}
	p.settle()
	return p
}

// aliasOf is the alias that a module was asked for by, "" for its name.
func aliasOf(m Match, alias string) string {
	switch m.Via {
	case ViaConfig:
		return m.Pattern()
	case ViaAlias, ViaSymbol, ViaBuiltInAlias:
		return alias
	}
	return ""
}

// probe plans a module with all it needs. required is false for a softdep.
func (p *plan) probe(module, alias string, required bool) {
	if p.visited[module] {
		return
	}
	p.visited[module] = true
	e, err := p.lookup(module)
	for _, dep := range slices.Backward(e.Deps) {
		d, err := p.lookup(dep)
		p.add(planned{entry: d, required: required, err: err})
	}
	p.add(planned{entry: e, alias: alias, required: required, main: required, err: err})
}

func (p *plan) lookup(module string) (Entry, error) {
	e, ok := p.index.Lookup(module)
	if !ok {
		return Entry{Name: module}, &NotFoundError{Name: module, Dir: p.index.Dir()}
	}
	return e, nil
}

// add gives a module its place, between what it wants loaded before and after it.
func (p *plan) add(m planned) {
	name := m.entry.Name
	soft := p.index.policy.Softdeps(name)
	for _, pre := range soft.Pre {
		for _, module := range p.softdep(pre) {
			p.order = append(p.order, constraint{module, name, softPre})
		}
	}
	for _, dep := range m.entry.Deps {
		p.order = append(p.order, constraint{dep, name, dependency})
	}
	if first, again := p.place[name]; again {
		m.again = true
		p.list[first].required = p.list[first].required || m.required
		p.list[first].main = p.list[first].main || m.main
		if p.list[first].alias == "" {
			p.list[first].alias = m.alias
		}
	} else {
		p.place[name] = len(p.list)
	}
	p.list = append(p.list, m)
	for _, post := range soft.Post {
		for _, module := range p.softdep(post) {
			p.order = append(p.order, constraint{name, module, softPost})
		}
	}
}

// softdep plans what one word of a softdep line stands for, and returns its modules. One that matches nothing is left out.
func (p *plan) softdep(word string) []string {
	var modules []string
	for m := range p.index.Match(word) {
		if !slices.Contains(modules, m.Module) {
			modules = append(modules, m.Module)
			p.probe(m.Module, "", false)
		}
	}
	return modules
}

// settle turns constraints into what each place waits for. Only what has an earlier place is waited for, so nothing goes round.
func (p *plan) settle() {
	for _, c := range p.order {
		first, ok := p.place[c.first]
		second, ok2 := p.place[c.second]
		if c.first == c.second && c.why != sequence {
			p.loops = append(p.loops, "softdep of "+c.first+" names itself")
		}
		if !ok || !ok2 || first == second {
			continue
		}
		if first > second {
			var loop string
			switch c.why {
			case dependency:
				loop = fmt.Sprintf("%s needs %s, and that needs or wants %s first", c.second, c.first, c.second)
			case softPre:
				loop = fmt.Sprintf("softdep of %s wants %s before it, and that needs or wants %s first", c.second, c.first, c.second)
			default:
				continue
			}
			if !slices.Contains(p.loops, loop) {
				p.loops = append(p.loops, loop)
			}
			continue
		}
		m := &p.list[second]
		list := &m.after
		if c.why == dependency {
			list = &m.needs
		}
		if !slices.Contains(*list, first) {
			*list = append(*list, first)
		}
	}
}
