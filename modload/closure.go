package modload

import "slices"

// Needed is a module that something needs, and why.
type Needed struct {
	Entry
	For []string // the aliases or names that asked for it; for a dependency, the modules
}

// Needs lists the modules that names and aliases stand for, with all that these need: dependencies, soft dependencies and, since an initramfs
// has no other chance, weak ones. Each stands behind what it depends on. What matches nothing, what a blacklist line keeps from aliases, and
// what may not be loaded is left out; unknown are those that match nothing.
func (x *Index) Needs(wanted []string) (needed []Needed, unknown []string) {
	place := map[string]int{}
	onPath := map[string]bool{}
	var add func(module, why string)
	add = func(module, why string) {
		if i, ok := place[module]; ok {
			if !slices.Contains(needed[i].For, why) {
				needed[i].For = append(needed[i].For, why)
			}
			return
		}
		if onPath[module] || x.Refusal(module, "") != nil {
			return
		}
		e, ok := x.Lookup(module)
		if !ok {
			return
		}
		onPath[module] = true
		for _, dep := range slices.Backward(e.Deps) {
			add(dep, module)
		}
		beside := func(words []string) {
			for _, w := range words {
				for m := range x.Match(w) {
					add(m.Module, module)
				}
			}
		}
		soft := x.policy.Softdeps(module)
		beside(soft.Pre)
		place[module] = len(needed)
		needed = append(needed, Needed{e, []string{why}})
		beside(soft.Post)
		beside(x.policy.Weakdeps(module))
	}
	for _, w := range wanted {
		some := false
		for m := range x.Match(w) {
			some = true
			if _, no := x.policy.Blacklisted(m.Module); no && m.Via != ViaName {
				continue
			}
			add(m.Module, w)
		}
		if !some {
			unknown = append(unknown, w)
		}
	}
	return needed, unknown
}
