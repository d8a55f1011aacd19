package modload

import (
	"cmp"
	"slices"
)

// sort ranks the modules so that each comes before what it depends on, and sorts their dependencies by rank. The walk is kmod's, last
// found first taken, for the order of modules.dep follows from it. A *CycleError when there is no such order.
func (d *depmod) sort() error {
	users := make([]int, len(d.modules))
	var ready []*depModule
	for i, m := range d.modules {
		m.rank = -1
		if users[i] = m.users; users[i] == 0 {
			ready = append(ready, m)
		}
	}
	ranked := 0
	for len(ready) > 0 {
		m := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		m.rank = ranked
		ranked++
		for _, dep := range m.deps {
			if users[dep.index]--; users[dep.index] == 0 {
				ready = append(ready, dep)
			}
		}
	}
	if ranked < len(d.modules) {
		return d.cycles()
	}
	for _, m := range d.modules {
		slices.SortFunc(m.deps, byRank)
	}
	return nil
}

func byRank(a, b *depModule) int { return cmp.Compare(a.rank, b.rank) }

// cycles looks for the circles among the modules that could not be ranked: one for each edge that closes one.
func (d *depmod) cycles() error {
	const (
		unseen = iota
		onPath
		finished
	)
	state := make([]uint8, len(d.modules))
	inCycle := make([]bool, len(d.modules))
	e := &CycleError{}
	var path []*depModule
	var visit func(m *depModule)
	visit = func(m *depModule) {
		state[m.index] = onPath
		path = append(path, m)
		for _, dep := range m.deps {
			switch state[dep.index] {
			case unseen:
				visit(dep)
			case onPath:
				var names []string
				for _, p := range path[slices.Index(path, dep):] {
					names = append(names, p.name)
					if !inCycle[p.index] {
						inCycle[p.index] = true
						e.Modules++
					}
				}
				e.Cycles = append(e.Cycles, append(names, dep.name))
			}
		}
		path = path[:len(path)-1]
		state[m.index] = finished
	}
	for _, m := range d.modules {
		if m.rank < 0 && state[m.index] == unseen {
			visit(m)
		}
	}
	return e
}

// closure finds everything that a module needs, in the order in which it stands in modules.dep: the reverse of the order of loading.
type closure struct {
	stamp []int
	found []*depModule
}

// of returns the modules that m depends on, directly or not. The slice is reused by the next call.
func (c *closure) of(m *depModule) []*depModule {
	c.found = c.found[:0]
	mark := m.index + 1
	for i := -1; i < len(c.found); i++ {
		from := m
		if i >= 0 {
			from = c.found[i]
		}
		for _, dep := range from.deps {
			if c.stamp[dep.index] != mark {
				c.stamp[dep.index] = mark
				c.found = append(c.found, dep)
			}
		}
	}
	slices.SortFunc(c.found, byRank)
	return c.found
}
