package hotplug

import "strings"

// kinship finds, for a new event, the unfinished ones that it has to wait for: those of its own path, of the paths above
// and below it, of its old path on a move, and of the same node, device number or interface, or of the same name in its
// subsystem where a device has neither: those of one id in udev's database.
//
// It holds a tree of path components with, at each path, the latest unfinished event. Two events of which one's path
// lies above the other's always wait for one another, so that what is latest has all the earlier ones behind it. Hence a
// new event need only wait for
//   - one event of those at its own path and above it: the latest of them;
//   - below it, what no later event above has taken over already. It takes these over: they are not looked at again.
//
// So an event costs the depth of its path, whatever number is queued.
type kinship struct {
	root   kinNode
	nodes  map[string]*item  // by DEVNAME
	number map[numKey]*item  // by device number and interface
	named  map[nameKey]*item // by the name of what has neither
}

// nameKey is a device's kernel name in its subsystem.
type nameKey struct{ subsystem, name string }

// numKey is a device number (kind 'b' or 'c') or an interface's index (kind 'n').
type numKey struct {
	kind byte
	a, b uint32
}

// kinNode is one path. It is there while it, or a path below it, has an unfinished event.
type kinNode struct {
	name   string
	parent *kinNode
	below  map[string]*kinNode
	last   *item // the latest unfinished event of this path
	open   bool  // no later event above has taken last over

	// The children that are open, or have something open below them, in a list.
	firstOpen, nextOpen, prevOpen *kinNode
	listed                        bool
}

// keysOf returns what else than its path an event shares with others.
func keysOf(ev *Event) (devname string, num [2]numKey, n int) {
	devname = ev.Devname()
	if d, ok := ev.Devnum(); ok {
		kind := byte('c')
		if ev.Subsystem() == "block" {
			kind = 'b'
		}
		num[n] = numKey{kind, d.Major, d.Minor}
		n++
	}
	if index := ev.Ifindex(); index > 0 {
		num[n] = numKey{kind: 'n', a: uint32(index)}
		n++
	}
	return devname, num, n
}

// nameOf returns the name of an event's device that has no number and is no interface, false for one that is or has no
// subsystem.
func nameOf(ev *Event, numbers int) (nameKey, bool) {
	path := ev.Devpath()
	return nameKey{ev.Subsystem(), path[strings.LastIndexByte(path, '/')+1:]}, numbers == 0 && ev.Subsystem() != ""
}

// add enters it, the latest event, and makes it wait for its kin.
func (k *kinship) add(it *item) {
	if k.nodes == nil {
		k.nodes, k.number, k.named = make(map[string]*item), make(map[numKey]*item), make(map[nameKey]*item)
	}
	it.at[0] = k.enter(it, it.ev.Devpath())
	if old := it.ev.DevpathOld(); old != "" && old != it.ev.Devpath() {
		it.at[1] = k.enter(it, old)
	}
	for _, n := range it.at {
		if n != nil {
			n.last = it
			n.setOpen()
		}
	}
	devname, num, count := keysOf(it.ev)
	if devname != "" {
		it.waitFor(k.nodes[devname])
		k.nodes[devname] = it
	}
	for _, key := range num[:count] {
		it.waitFor(k.number[key])
		k.number[key] = it
	}
	if key, ok := nameOf(it.ev, count); ok {
		it.waitFor(k.named[key])
		k.named[key] = it
	}
}

// enter walks down to path and makes it wait for what is at the path, above and below.
func (k *kinship) enter(it *item, path string) *kinNode {
	n := &k.root
	var latest *item
	for rest := path[1:]; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next := n.below[name]
		if next == nil {
			if n.below == nil {
				n.below = make(map[string]*kinNode)
			}
			next = &kinNode{name: name, parent: n}
			n.below[name] = next
		}
		if n = next; n.last != nil && (latest == nil || n.last.seq > latest.seq) {
			latest = n.last
		}
	}
	it.waitFor(latest)
	n.takeOver(it)
	return n
}

// takeOver makes it wait for all that is open below n, and closes that.
func (n *kinNode) takeOver(it *item) {
	for child := n.firstOpen; child != nil; {
		next := child.nextOpen
		child.takeOver(it)
		if child.open {
			it.waitFor(child.last)
			child.open = false
		}
		child.listed, child.nextOpen, child.prevOpen = false, nil, nil
		child = next
	}
	n.firstOpen = nil
}

func (n *kinNode) setOpen() {
	n.open = true
	for ; n.parent != nil && !n.listed; n = n.parent {
		n.listed = true
		if n.nextOpen = n.parent.firstOpen; n.nextOpen != nil {
			n.nextOpen.prevOpen = n
		}
		n.parent.firstOpen = n
	}
}

func (n *kinNode) unlist() {
	for ; n.parent != nil && n.listed && !n.open && n.firstOpen == nil; n = n.parent {
		if n.prevOpen != nil {
			n.prevOpen.nextOpen = n.nextOpen
		} else {
			n.parent.firstOpen = n.nextOpen
		}
		if n.nextOpen != nil {
			n.nextOpen.prevOpen = n.prevOpen
		}
		n.listed, n.nextOpen, n.prevOpen = false, nil, nil
	}
}

// remove takes a finished event out.
func (k *kinship) remove(it *item) {
	for _, n := range it.at {
		if n == nil || n.last != it {
			continue
		}
		n.last, n.open = nil, false
		n.unlist()
		for n.parent != nil && n.last == nil && len(n.below) == 0 {
			delete(n.parent.below, n.name)
			n = n.parent
		}
	}
	devname, num, count := keysOf(it.ev)
	if devname != "" && k.nodes[devname] == it {
		delete(k.nodes, devname)
	}
	for _, key := range num[:count] {
		if k.number[key] == it {
			delete(k.number, key)
		}
	}
	if key, ok := nameOf(it.ev, count); ok && k.named[key] == it {
		delete(k.named, key)
	}
}
